# SPDX-License-Identifier: Apache-2.0
"""What is there: an environment as its records say it, and our notes beside them."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Any

from .conda_specs import Record, parse_stem

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

# Without an ending: conda takes every .json in that folder for a record.
MARKER = "nbfleet"
LOCK = ".nbfleet-conda.lock"
_UNWATCHED = re.compile(
    r"(?:^|/)__pycache__/|\.pyc$|(?:^|/)\.messages\.txt$|^bin/\.[^/]*-(?:pre|post)-(?:un)?link\.sh$"
)


class Environment:
    """A folder that is, was or will be a conda environment; everything here only reads."""

    def __init__(self, path: Path, base: Path) -> None:
        self.path = path
        self.meta = path / "conda-meta"
        self.marker_file = self.meta / MARKER
        # Outside the folder, so that they outlive a half-made environment and conda never sees them.
        own = f"{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        self.begun_file = base / f".nbfleet-begun-{own}"
        self.lock_file = base / f".nbfleet-lock-{own}.txt"

    @property
    def exists(self) -> bool:
        """Say whether conda regards the folder as an environment."""
        return (self.meta / "history").is_file()

    @property
    def in_the_way(self) -> bool:
        """Say whether the folder holds anything at all."""
        return self.path.is_dir() and any(self.path.iterdir())

    @property
    def begun(self) -> str:
        """Return what an earlier run of ours began (create, install) and did not end; else empty."""
        with contextlib.suppress(OSError):
            return self.begun_file.read_text(encoding="utf-8").strip() or "install"
        return ""

    @property
    def half_made(self) -> bool:
        """Say whether the folder is what is left of a creation of ours that was killed."""
        return self.begun == "create" and not self.marker

    @property
    def marker(self) -> dict[str, Any]:
        """Return what we noted when we last changed the environment; empty when we never did."""
        try:
            found = json.loads(self.marker_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def records(self) -> dict[str, Record]:
        """Return the installed packages by name; pip's leave no record here, damaged records do not count."""
        found = {}
        for file in sorted(self.meta.glob("*.json")):
            record = parse_stem(file.stem)
            if record and not _truncated(file):
                found[record.name] = record
        return found

    def damaged(self) -> list[Path]:
        """Return the records that a full disk or a killed conda cut short."""
        return [file for file in sorted(self.meta.glob("*.json")) if parse_stem(file.stem) and _truncated(file)]

    def details(self) -> dict[str, dict[str, Any]]:
        """Return all that conda knows of the installed packages, by name."""
        return {
            name: {**record._asdict(), **json.loads((self.meta / f"{record.stem}.json").read_text(encoding="utf-8"))}
            for name, record in self.records().items()
        }

    def altered(self) -> dict[str, list[str]]:
        """Return the packages' files that are not as they were installed, by package.

        What Python and link scripts write by themselves is no finding, nor is a file that no package brought.
        """
        brought: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        for name, record in self.details().items():
            for entry in record.get("paths_data", {}).get("paths", []):
                if not _UNWATCHED.search(entry["_path"]) and entry.get("path_type") not in ("pyc_file", "directory"):
                    brought.setdefault(entry["_path"], []).append((name, entry))
        found: dict[str, list[str]] = {}
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for path, good in zip(brought, pool.map(self._as_brought, brought.items(), chunksize=200)):
                if not good:
                    # Where two packages brought it, the last one has it.
                    found.setdefault(brought[path][-1][0], []).append(path)
        return {name: sorted(paths) for name, paths in sorted(found.items())}

    def _as_brought(self, item: tuple[str, Sequence[tuple[str, Mapping[str, Any]]]]) -> bool:
        path, entries = self.path / item[0], [entry for _, entry in item[1]]
        wanted = {str(entry.get("sha256_in_prefix") or entry.get("sha256") or "") for entry in entries}
        if "" in wanted or any(entry.get("path_type") == "softlink" for entry in entries):
            return os.path.lexists(path)
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest() in wanted
        except OSError:
            return False

    @property
    def frozen(self) -> str | None:
        """Return the reason why the environment must not be changed; None when it may be."""
        try:
            text = (self.meta / "frozen").read_text(encoding="utf-8")
        except OSError:
            return None
        try:
            return str(json.loads(text).get("message") or "") if text.strip() else ""
        except (ValueError, AttributeError):
            return ""


def archive_hashes(details: Mapping[str, Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return the hashes of each package by its stem, of what conda knows of the packages."""
    return {
        stem_of(record): {str(record[key]) for key in ("md5", "sha256") if record.get(key)}
        for record in details.values()
    }


def stem_of(record: Mapping[str, Any]) -> str:
    """Return name-version-build of what conda knows of a package."""
    return f"{record['name']}-{record['version']}-{record['build']}"


def _truncated(file: Path) -> bool:
    with file.open("rb") as record:
        record.seek(0, os.SEEK_END)
        record.seek(max(0, record.tell() - 16))
        return not record.read().rstrip().endswith(b"}")


def revision(environment: Environment, coming: Collection[str] = (), gone: Collection[str] = ()) -> str:
    """Return a short hash of all installed packages, as they will be.

    Args:
        environment: Where they are.
        coming: What is still to come, as name-version-build.
        gone: Names of what will go.
    """
    replaced = {record.name for stem in coming if (record := parse_stem(stem))}.union(gone)
    staying = [record.stem for name, record in environment.records().items() if name not in replaced]
    return hashlib.sha256("\n".join(sorted([*staying, *coming])).encode()).hexdigest()[:12]


def write(file: Path, text: str, mode: int) -> None:
    """Write a file under a temporary name and rename it, so that nobody ever sees half of it."""
    temporary = file.with_name(f".{file.name}.nbfleet-new")
    temporary.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
    temporary.chmod(mode)
    temporary.replace(file)
