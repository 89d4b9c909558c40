"""Writes one conda package (`.conda`, format version 2) from a list of files, the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import zstandard

if TYPE_CHECKING:
    from pathlib import Path

#: The prefix written into files at build time; rattler and conda replace it when they link. 255 characters, as
#: conda-build's, so that a binary file has room for any prefix that Linux allows a program to start from.
PLACEHOLDER = "/opt/" + "placehold_" * 25

#: Every member of every archive carries this time (2026-11-01 00:00 UTC, in seconds).
BUILD_TIME = 1793491200

_LEVEL = 3


@dataclass(frozen=True)
class File:
    """One file of a package.

    Attributes:
        path: Place in the package, relative, with slashes.
        data: Contents; empty for a symbolic link.
        executable: Whether the mode is 0755 instead of 0644.
        target: Where a symbolic link points to, or nothing for a plain file.
        placeholder: "text" or "binary" if the contents hold `PLACEHOLDER`.
    """

    path: str
    data: bytes = b""
    executable: bool = False
    target: str | None = None
    placeholder: Literal["text", "binary"] | None = None


@dataclass
class Package:
    """What goes into one conda package, before it is written."""

    name: str
    version: str
    build: str
    depends: list[str]
    files: list[File]
    noarch: bool = False
    license: str = ""
    summary: str = ""
    entry_points: list[str] = field(default_factory=list)
    constrains: list[str] = field(default_factory=list)

    @property
    def subdir(self) -> str:
        """The channel's folder that the package belongs into."""
        return "noarch" if self.noarch else "linux-64"

    @property
    def stem(self) -> str:
        """File name without `.conda`."""
        return f"{self.name}-{self.version}-{self.build}"

    @property
    def build_number(self) -> int:
        """The number at the end of the build string, or at its start as in `2_cp311`."""
        found = re.search(r"_(\d+)$|^(\d+)_", self.build)
        return int(found.group(1) or found.group(2)) if found else 0


def _paths_json(files: list[File]) -> dict[str, object]:
    paths: list[dict[str, object]] = []
    for item in files:
        entry: dict[str, object] = {"_path": item.path}
        if item.target is not None:
            entry["path_type"] = "softlink"
            entry["sha256"] = hashlib.sha256(b"").hexdigest()
            entry["size_in_bytes"] = 0
        else:
            entry["path_type"] = "hardlink"
            entry["sha256"] = hashlib.sha256(item.data).hexdigest()
            entry["size_in_bytes"] = len(item.data)
            if item.placeholder:
                entry["file_mode"] = item.placeholder
                entry["prefix_placeholder"] = PLACEHOLDER
        paths.append(entry)
    return {"paths": paths, "paths_version": 1}


def _index_json(package: Package) -> dict[str, object]:
    index: dict[str, object] = {
        "arch": None if package.noarch else "x86_64",
        "build": package.build,
        "build_number": package.build_number,
        "constrains": package.constrains,
        "depends": package.depends,
        "license": package.license,
        "name": package.name,
        "platform": None if package.noarch else "linux",
        "subdir": package.subdir,
        "timestamp": BUILD_TIME * 1000,
        "version": package.version,
    }
    if package.noarch:
        index["noarch"] = "python" if _is_python(package) else "generic"
    return index


def _is_python(package: Package) -> bool:
    return bool(package.entry_points) or any(item.path.startswith("site-packages/") for item in package.files)


def _tar_zst(files: list[File]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for item in files:
            info = tarfile.TarInfo(item.path)
            info.mtime = BUILD_TIME
            info.mode = 0o755 if item.executable or item.target is not None else 0o644
            if item.target is not None:
                info.type = tarfile.SYMTYPE
                info.linkname = item.target
                tar.addfile(info)
            else:
                info.size = len(item.data)
                tar.addfile(info, io.BytesIO(item.data))
    return zstandard.ZstdCompressor(level=_LEVEL).compress(raw.getvalue())


def write(package: Package, channel: Path) -> dict[str, object]:
    """Write a package into a channel.

    Args:
        package: The package; its files' order does not matter.
        channel: Folder of the channel; the file goes to `<channel>/<subdir>/<stem>.conda`.

    Returns:
        The package's entry for `repodata.json`: its index with `fn`, `md5`, `sha256` and `size` in bytes.
    """
    files = sorted(package.files, key=lambda item: item.path)
    index = _index_json(package)

    def as_json(value: object) -> bytes:
        return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"

    info = [
        File("info/index.json", as_json(index)),
        File("info/paths.json", as_json(_paths_json(files))),
        File("info/files", "".join(f"{item.path}\n" for item in files).encode()),
        File(
            "info/about.json",
            as_json(
                {
                    "summary": package.summary,
                    "license": package.license,
                    "description": "Repacked for the nbfleet stand-in; not a build of conda-forge or Anaconda.",
                }
            ),
        ),
    ]
    if index.get("noarch") == "python":
        link = {
            "noarch": {"type": "python", "entry_points": package.entry_points},
            "package_metadata_version": 1,
        }
        info.append(File("info/link.json", as_json(link)))
    out = channel / package.subdir / f"{package.stem}.conda"
    out.parent.mkdir(parents=True, exist_ok=True)
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (
            ("metadata.json", b'{"conda_pkg_format_version": 2}'),
            (f"pkg-{package.stem}.tar.zst", _tar_zst(files)),
            (f"info-{package.stem}.tar.zst", _tar_zst(info)),
        ):
            member = zipfile.ZipInfo(name, (2026, 11, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            archive.writestr(member, data)
    data = raw.getvalue()
    out.write_bytes(data)
    return index | {
        "fn": out.name,
        "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
    }
