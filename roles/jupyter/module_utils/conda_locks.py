# SPDX-License-Identifier: Apache-2.0
"""Locks: explicit lists of packages with their hashes, for one platform."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from .conda_specs import Refusal, parse_stem, version_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def conda_platform(system: str, machine: str) -> str:
    """Return conda's word for a platform, such as linux-64."""
    words = {"x86_64": "64", "arm64": "aarch64"}
    return f"{system.lower()}-{words.get(machine, machine)}"


class Package(NamedTuple):
    """A package of an explicit list: name-version-build, where it is, and its hash."""

    stem: str
    url: str
    digest: str

    @property
    def file(self) -> str:
        """Return the name of the archive."""
        return self.url.rpartition("/")[2]

    @property
    def name(self) -> str:
        """Return the package's name."""
        return self.stem.rsplit("-", 2)[0]

    @property
    def kind(self) -> str:
        """Return what its hash is."""
        return "sha256" if len(self.digest) == 64 else "md5"


def glibc_of(depends: Iterable[str]) -> str:
    """Return the newest glibc that any of the requirements asks for; empty when none does."""
    bounds = re.findall(r"^__glibc\s*>=?\s*([\d.]+)", "\n".join(depends), re.MULTILINE)
    return max((bound.strip(".") for bound in bounds), key=version_key, default="")


def explicit_text(records: Iterable[Mapping[str, Any]], here: str) -> str:
    """Return the lock that holds the very packages of the records (as conda writes them), by name.

    Raises:
        Refusal: A record knows no hash or no address of its package.
    """
    lines: list[str] = []
    depends: list[str] = []
    for record in sorted(records, key=lambda record: str(record["name"])):
        digest = record.get("sha256") or record.get("md5")
        if not digest or not record.get("url"):
            raise Refusal(
                f"nobody knows the hash of {record['name']}; run `conda clean -py` on the account and then again"
            )
        lines.append(f"{record['url']}#{digest}\n")
        depends += map(str, record.get("depends") or [])
    glibc = glibc_of(depends)
    return "".join([f"# platform: {here}\n", f"# glibc: {glibc}\n" if glibc else "", "@EXPLICIT\n", *lines])


def word(text: str) -> str:
    """Return a word that changes with a lock, the same as the role's variables work out; empty for none."""
    return hashlib.sha256(text.rstrip().encode()).hexdigest()[:12] if text else ""


def lock_packages(text: str) -> list[Package]:
    """Return the packages of a lock that parse_lock accepts."""
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.partition("#")[::2] for line in lines if line and not line.startswith(("#", "@"))]
    return [
        Package(re.sub(r"(\.conda|\.tar\.bz2)$", "", url.rpartition("/")[2]), url, digest.rpartition(":")[2])
        for url, digest in pairs
    ]


def parse_lock(text: str, here: str, glibc: str = "") -> dict[str, str]:
    """Return the hash of each package of an explicit list by its stem.

    Args:
        text: An @EXPLICIT file.
        here: The platform it has to fit, such as linux-64.
        glibc: This machine's, to be as new as the lock asks; empty: not compared.

    Raises:
        Refusal: The list is none, has no hashes, or is for another platform or a newer system.
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
        needed = line.partition(":")[2].strip() if line.startswith("# glibc:") else ""
        if needed and glibc and version_key(glibc) < version_key(needed):
            raise Refusal(
                f"the lock needs glibc {needed} and this machine has {glibc}; give one made on a machine as old as this"
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


def lock_difference(wanted: Mapping[str, str], installed: Mapping[str, set[str]]) -> list[str]:
    """Return the packages of a lock that are not installed, or not with its hashes."""
    add = []
    for stem, digest in wanted.items():
        known = {other for other in installed.get(stem, ()) if len(other) == len(digest)}
        if stem not in installed or (known and digest not in known):
            add.append(stem)
    return sorted(add)
