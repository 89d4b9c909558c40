"""Makes the self-extracting installer: a POSIX sh header, then a tar.gz of unpacked packages."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import zstandard

from .archive import BUILD_TIME

if TYPE_CHECKING:
    from pathlib import Path

    from .suites import Suite

NAME = "Miniconda3"
VERSION = "standin"
FILE = f"{NAME}-{VERSION}-Linux-x86_64.sh"
#: What the base environment is asked to hold; the rest are their dependencies.
BASE = ["python", "conda", "pip", "setuptools", "wheel", "py-rattler", "ruamel.yaml", "certifi"]
#: Where the base packages come from, on paper: a name that no network resolves.
_CHANNEL = "https://standin.invalid/conda-forge"


def closure(entries: list[dict[str, Any]], wanted: list[str]) -> list[dict[str, Any]]:
    """The packages that packages need, themselves included; the newest of each name, by name."""
    newest: dict[str, dict[str, Any]] = {}
    for entry in entries:
        name = str(entry["name"])
        if name not in newest or _key(entry) > _key(newest[name]):
            newest[name] = entry
    found: dict[str, dict[str, Any]] = {}
    todo = list(wanted)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found[name] = newest[name]
        todo.extend(re.split(r"[\s=<>!~]", str(spec), maxsplit=1)[0] for spec in newest[name]["depends"])
    return [found[name] for name in sorted(found)]


def _key(entry: dict[str, Any]) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", str(entry["version"]))]


class _Payload:
    """A tar archive that is made member by member, the same bytes every time."""

    def __init__(self) -> None:
        self.raw = io.BytesIO()
        # The level that costs a quarter of the time of the default and a tenth more bytes.
        self._gzip = gzip.GzipFile(fileobj=self.raw, mode="wb", compresslevel=3, mtime=0)
        self._tar = tarfile.open(fileobj=self._gzip, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115 - closed below
        self.unpacked = 0

    def add(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.mtime, info.mode, info.size = BUILD_TIME, 0o644, len(data)
        self._tar.addfile(info, io.BytesIO(data))
        self.unpacked += len(data)

    def add_package(self, path: Path, stem: str) -> None:
        with zipfile.ZipFile(path) as archive:
            for part in ("info", "pkg"):
                compressed = archive.read(f"{part}-{stem}.tar.zst")
                plain = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(compressed)).read()
                with tarfile.open(fileobj=io.BytesIO(plain)) as inner:
                    for member in inner:
                        member.name = f"pkgs/{stem}/{member.name}"
                        self._tar.addfile(member, inner.extractfile(member) if member.isfile() else None)
                        self.unpacked += member.size

    def close(self) -> bytes:
        self._tar.close()
        self._gzip.close()
        return self.raw.getvalue()


def _small_tar(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.mtime, info.mode, info.size = BUILD_TIME, 0o644, len(data)
            tar.addfile(info, io.BytesIO(data))
    return raw.getvalue()


def build(channel: Path, entries: list[dict[str, Any]], header: str, out: Path, suite: Suite) -> str:
    """Write the installer.

    Args:
        channel: Folder of the built channel.
        entries: The channel's packages, as `archive.write` returned them.
        header: Text of the header with its `@TOKENS@`.
        out: The file to write.
        suite: The release that the packages are made from.

    Returns:
        SHA-256 of the file.
    """
    base = closure(entries, BASE)
    payload = _Payload()
    payload.add("preconda.tar.bz2", _small_tar({}))
    about = {"name": NAME, "version": VERSION, "platform": "linux-64", "type": "sh"}
    licence = (
        "The nbfleet stand-in distribution. Each package stands under its own licence; see pkgs/*/info/about.json.\n"
    )
    payload.add("postconda.tar.bz2", _small_tar({".condarc": b"channels:\n  - defaults\n"}))
    payload.add(".installer.info", json.dumps(about).encode())
    payload.add("LICENSE.txt", licence.encode())
    urls = [f"{_CHANNEL}/{entry['subdir']}/{entry['fn']}#{entry['md5']}" for entry in base]
    payload.add("conda-meta/initial-state.explicit.txt", ("@EXPLICIT\n" + "".join(f"{url}\n" for url in urls)).encode())
    for entry in base:
        stem = str(entry["fn"]).removesuffix(".conda")
        place = f"{_CHANNEL}/{entry['subdir']}"
        record = entry | {"url": f"{place}/{entry['fn']}", "channel": place}
        payload.add(f"pkgs/{stem}/info/repodata_record.json", json.dumps(record, indent=2, sort_keys=True).encode())
        payload.add_package(channel / str(entry["subdir"]) / str(entry["fn"]), stem)
    data = payload.close()
    stems = {str(entry["name"]): str(entry["fn"]).removesuffix(".conda") for entry in base}
    values = {
        "NAME": NAME,
        "VERSION": VERSION,
        "GLIBC_MINOR": str(suite.glibc),
        "SIZE": str(len(data)),
        "SHA256": hashlib.sha256(data).hexdigest(),
        # Linked files are hard links into pkgs; what is new is the compiled Python of the packages.
        "NEEDED": str(payload.unpacked * 115 // 100 // 1_000_000),
        "STEMS": " ".join(sorted(stems.values())),
        "PYTHON": stems["python"],
        "SITE": suite.site,
    }
    for key, value in values.items():
        header = header.replace(f"@{key}@", value)
    # The offset's own digits are part of the header's length: fixed width, so that they do not change it.
    length = len(header.replace("@OFFSET@", "0" * 10).encode())
    header = header.replace("@OFFSET@", f"{length + 1:010d}")
    whole = header.encode() + data
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(whole)
    out.chmod(0o755)
    return hashlib.sha256(whole).hexdigest()
