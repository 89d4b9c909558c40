# SPDX-License-Identifier: Apache-2.0
"""What the controller reads in the locks that it keeps: what they were solved for, and in what two of them differ."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .conda_controller import read
from .conda_locks import lock_packages

if TYPE_CHECKING:
    from pathlib import Path


def versions(lock: str) -> dict[str, str]:
    """Return the version of each package of an explicit list."""
    return {package.name: package.stem.rsplit("-", 2)[1] for package in lock_packages(lock)}


def difference(before: str, after: str) -> dict[str, list[str]]:
    """Return what is added to, removed from and moved within a lock, each as a person reads it."""
    old, new = versions(before), versions(after)
    moved = [name for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
    return {
        "added": [f"{name} {new[name]}" for name in sorted(new.keys() - old.keys())],
        "removed": [f"{name} {old[name]}" for name in sorted(old.keys() - new.keys())],
        "moved": [f"{name} {old[name]} -> {new[name]}" for name in moved],
    }


def listed(lock: str) -> str:
    """Return a lock as the lines of a diff."""
    return "".join(f"{name} {version}\n" for name, version in sorted(versions(lock).items()))


def asked_for(lock: str) -> set[str]:
    """Return the specs that a lock of ours was solved for."""
    return {line.removeprefix("# spec:").strip() for line in lock.splitlines() if line.startswith("# spec:")}


def with_specs(explicit: str, specs: list[str]) -> str:
    """Return an explicit list that says what it was solved for."""
    return "".join(f"# spec: {text}\n" for text in sorted(set(specs))) + explicit


def most_alike(place: Path, specs: list[str]) -> str:
    """Return the lock beside `place`, for the same platform, that was solved for most of these packages.

    Its versions are kept, so that to ask for one package more moves no other. One that was solved for a package that is
    not asked for now is none: keeping all of it would bring that package, too. Empty for none.
    """
    wanted = {spec_name(text) for text in specs}
    best, shared = "", 0
    for file in sorted(place.parent.glob(f"{place.stem.rpartition('-')[0]}-*{place.suffix}"), key=_age):
        text = read(file)
        names = {spec_name(spec) for spec in asked_for(text)}
        if names <= wanted and len(names) >= max(shared, 1):
            best, shared = text, len(names)
    return best


def _age(file: Path) -> float:
    return file.stat().st_mtime


def spec_name(text: str) -> str:
    """Return the package's name in a spec."""
    return re.split(r"[\s=<>!~]", text.rpartition("::")[2].strip(), maxsplit=1)[0].lower()
