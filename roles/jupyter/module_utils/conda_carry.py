# SPDX-License-Identifier: Apache-2.0
"""What a person added to an environment, carried into the one that takes its place."""

from __future__ import annotations

import contextlib
import csv
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .conda_locks import lock_packages
from .conda_records import stem_of
from .conda_specs import Refusal, parse_stem, version_matches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from .conda_records import Environment

# Where people and programs put what belongs to the environment: kernels, settings, activation.
_SETTINGS = ("etc", "share/jupyter", "conda-meta/state", "conda-meta/pinned")
_OURS = ("etc/nbfleet.env",)
_LARGEST_TEXT = 1 << 20


class Distribution(NamedTuple):
    """What pip installed: its name and version, and its files, relative to the environment."""

    name: str
    version: str
    files: list[str]


def spared(names: Iterable[str], leave: Collection[str]) -> list[str]:
    """Return the names that are not to be left behind."""
    return [name for name in names if "*" not in leave and name.lower() not in {word.lower() for word in leave}]


# --- conda's ------------------------------------------------------------------------------------------------------


def conda_extras(old: Environment, lock: str, leave: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return what conda knows of the packages that a person added, and of what these need beyond the lock.

    Raises:
        Refusal: One does not go with the lock, or nobody knows where it came from.
    """
    details = old.details()
    coming = {record.name: record.version for one in lock_packages(lock) if (record := parse_stem(one.stem))}
    ours = set(old.marker.get("packages", []))
    extras: dict[str, dict[str, Any]] = {}
    waiting = spared([name for name in details if name not in ours and name not in coming], leave)
    while waiting:
        name = waiting.pop()
        if name in extras:
            continue
        extras[name] = details[name]
        waiting += [need for need, _ in _needs(details[name]) if need in details and need not in coming]
    for name, known in extras.items():
        if not known.get("url") or not (known.get("sha256") or known.get("md5")):
            raise Refusal(f"nobody knows where {stem_of(known)}, which you added, came from; {_way_out(name)}")
        for need, versions in _needs(known):
            there = coming.get(need) or str(extras.get(need, {}).get("version") or "")
            if there and versions and not _meets(there, versions):
                raise Refusal(
                    f"the package {stem_of(known)}, which you added, needs {need} {versions} and the lock has "
                    f"{need} {there}; {_way_out(name)}"
                )
    return dict(sorted(extras.items()))


def _way_out(name: str) -> str:
    return f"remove or renew it, or upgrade without it (jupyter_leave: [{name}])"


def _needs(record: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for text in map(str, record.get("depends") or []):
        name, _, rest = re.sub(r"\[.*", "", text).strip().partition(" ")
        if name and not name.startswith("__"):
            yield name.lower(), rest.strip().partition(" ")[0]


def _meets(version: str, versions: str) -> bool:
    with contextlib.suppress(AttributeError, ValueError):
        return version_matches(version, versions)
    return True  # a form that is not understood: the linker and the trial have the last word


def explicit_lines(extras: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the lines that stand for packages in a lock."""
    return "".join(f"{one['url']}#{one.get('sha256') or one['md5']}\n" for one in extras.values())


# --- pip's, and plain files ---------------------------------------------------------------------------------------


def site_packages(environment: Path) -> Path | None:
    """Return where the environment's Python has its packages."""
    return next(iter(sorted(environment.glob("lib/python3.*/site-packages"))), None)


def conda_files(environment: Environment) -> set[str]:
    """Return all files that packages of conda brought."""
    return {
        str(entry["_path"])
        for record in environment.details().values()
        for entry in record.get("paths_data", {}).get("paths", [])
    }


def pip_distributions(environment: Environment, brought: Collection[str]) -> list[Distribution]:
    """Return what pip installed, by the notes that it keeps."""
    site = site_packages(environment.path)
    found = []
    for folder in sorted(site.glob("*.dist-info")) if site else ():
        notes = [folder / "METADATA", folder / "RECORD"]
        if not all(note.is_file() for note in notes) or str(notes[0].relative_to(environment.path)) in brought:
            continue
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        with notes[1].open(encoding="utf-8", newline="") as record:
            files = [_within(environment.path, folder.parent, row[0]) for row in csv.reader(record) if row]
        found.append(Distribution(_plain(name), version, [file for file in files if file and file not in brought]))
    return found


def _within(environment: Path, site: Path, file: str) -> str:
    parts: list[str] = []
    for part in (*site.relative_to(environment).parts, *Path(file).parts):
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/".join(parts) if not file.startswith("/") and "__pycache__" not in parts else ""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def nothing_added(environment: Environment) -> bool:
    """Say whether all that is installed came with our own packages."""
    ours = set(environment.marker.get("packages", []))
    return environment.records().keys() <= ours and not pip_distributions(environment, conda_files(environment))


def require_same_python(old: Environment, lock: str, carried: Collection[Distribution]) -> None:
    """Refuse to carry what pip installed to another Python.

    Raises:
        Refusal: The lock has another Python.
    """
    site = site_packages(old.path)
    records = [record for one in lock_packages(lock) if (record := parse_stem(one.stem))]
    to = next((".".join(record.version.split(".")[:2]) for record in records if record.name == "python"), "")
    of = site.parent.name.removeprefix("python") if site else ""
    if carried and to != of:
        names = ", ".join(one.name for one in carried)
        raise Refusal(
            f"pip installed {names} for Python {of} and the lock has Python {to or 'none'}; install them there "
            f"afterwards, and upgrade without them (jupyter_leave: [{names}])"
        )


def carry_files(old: Environment, new: Environment, carried: Collection[Distribution]) -> list[str]:
    """Copy what pip installed, and settings that no package brought; return the distributions that stay behind.

    A distribution that the new environment has by a package is not overwritten.
    """
    brought = conda_files(old)
    site = site_packages(new.path)
    theirs = {_plain(folder.name.partition("-")[0]) for folder in site.glob("*.dist-info")} if site else set()
    by_pip = [one for one in carried if one.name not in theirs]
    files = [file for one in by_pip for file in one.files]
    by_any_pip = {file for one in pip_distributions(old, brought) for file in one.files}
    for top in _SETTINGS:
        place = old.path / top
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            file = str(path.relative_to(old.path))
            if file not in brought and file not in by_any_pip and file not in _OURS and "__pycache__" not in path.parts:
                files.append(file)
    for file in files:
        _copy(old.path, new.path, file)
    return sorted(one.name for one in carried if one.name in theirs)


def _copy(old: Path, new: Path, file: str) -> None:
    source, target = old / file, new / file
    if target.exists() or target.is_symlink() or not (source.is_file() or source.is_symlink()):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)
    if source.is_symlink() or source.stat().st_size > _LARGEST_TEXT:
        return
    data = source.read_bytes()
    # A longer path may begin with this one.
    renewed = re.sub(re.escape(str(old).encode()) + rb"(?![\w.-])", str(new).encode(), data)
    if b"\0" not in data and renewed != data:
        target.write_bytes(renewed)
