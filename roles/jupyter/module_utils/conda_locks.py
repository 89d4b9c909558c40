# SPDX-License-Identifier: Apache-2.0
"""Locks: explicit lists of packages with their hashes, for one platform."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .conda_specs import Refusal, parse_stem

if TYPE_CHECKING:
    from collections.abc import Mapping


def conda_platform(system: str, machine: str) -> str:
    """Return conda's word for a platform, such as linux-64."""
    words = {"x86_64": "64", "arm64": "aarch64"}
    return f"{system.lower()}-{words.get(machine, machine)}"


def parse_lock(text: str, here: str) -> dict[str, str]:
    """Return the hash of each package of an explicit list by its stem.

    Args:
        text: An @EXPLICIT file.
        here: The platform it has to fit, such as linux-64.

    Raises:
        Refusal: The list is none, has no hashes, or is for another platform.
    """
    lines = [line.strip() for line in text.splitlines()]
    if "@EXPLICIT" not in lines:
        raise Refusal("the lock has no line @EXPLICIT; make it with `conda list --explicit --sha256`")
    packages: dict[str, str] = {}
    for line in lines:
        if line.startswith("# platform:") and line.partition(":")[2].strip() != here:
            raise Refusal(
                f"the lock is for {line.partition(':')[2].strip()} and this machine is {here}; give one made there"
            )
        if not line or line.startswith(("#", "@")):
            continue
        url, _, digest = line.partition("#")
        subdir, _, archive = url.rpartition("/")
        subdir = subdir.rpartition("/")[2]
        stem = re.sub(r"(\.conda|\.tar\.bz2)$", "", archive)
        if subdir not in (here, "noarch"):
            raise Refusal(f"the lock names {archive} for {subdir} and this machine is {here}; give one made there")
        if not parse_stem(stem) or stem == archive:
            raise Refusal(f"the lock names '{line}', which is no conda package")
        digest = digest.rpartition(":")[2]
        if not re.fullmatch(r"[0-9a-f]{32}|[0-9a-f]{64}", digest):
            raise Refusal(f"the lock gives no hash for {archive}; make it with `conda list --explicit --sha256`")
        packages[stem] = digest
    if not packages:
        raise Refusal("the lock lists no package; make it with `conda list --explicit --sha256`")
    return packages


def lock_difference(wanted: Mapping[str, str], installed: Mapping[str, set[str]]) -> tuple[list[str], list[str]]:
    """Return the stems to add and the stems to take away to make the environment the lock."""
    add = []
    for stem, digest in wanted.items():
        known = {other for other in installed.get(stem, ()) if len(other) == len(digest)}
        if stem not in installed or (known and digest not in known):
            add.append(stem)
    return sorted(add), sorted(set(installed) - set(wanted))
