# SPDX-License-Identifier: Apache-2.0
"""The linker: py-rattler, unpacked beside conda, run by the prefix's own Python; environments never see it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import conda_linker
from .conda_cache import HandOver, borrow, drop, drop_incomplete, is_unpacked, note_urls
from .conda_run import explain, first_line, last_line, read_answer, run_conda
from .conda_specs import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .conda_locks import Package

HOUSE = ".nbfleet"


def glibc_version() -> str:
    """Return the version of this machine's glibc; empty where there is another C library."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return ""
    return version if name == "glibc" else ""


def why_not(linker: str, digest: str, base: Path) -> str:
    """Return why the linker cannot work here, in a sentence without a full stop; empty when it can."""
    if not linker or not digest:
        return "no linker was given"
    glibc = glibc_version()
    if not glibc:
        return "the linker needs glibc, and this machine has another C library"
    if tuple(map(int, re.findall(r"\d+", glibc)))[:2] < (2, 17):
        return f"the linker needs glibc 2.17 or newer, and this machine has {glibc}"
    cache = base / "pkgs"
    if cache.exists() and not os.access(cache, os.W_OK):
        return f"the package cache {cache} cannot be written"
    return ""


def home(base: Path, digest: str) -> Path:
    """Return where the linker of that hash is kept unpacked."""
    return base / HOUSE / f"rattler-{digest[:12]}"


def is_missing(linker: str, digest: str, base: Path) -> bool:
    """Say whether the linker would have to be sent first."""
    return not home(base, digest).is_dir() and _sum(Path(linker)) != digest


def _sum(file: Path) -> str:
    try:
        with file.open("rb") as wheel:
            digest = hashlib.sha256()
            while piece := wheel.read(1 << 20):
                digest.update(piece)
    except OSError:
        return ""
    return digest.hexdigest()


def unpack(linker: str, digest: str, base: Path) -> Path:
    """Unpack the linker once and return its folder; older ones go.

    Raises:
        HandOver: It is not what its hash says, or no wheel.
    """
    folder = home(base, digest)
    if folder.is_dir():
        return folder
    if _sum(Path(linker)) != digest:
        raise HandOver("the linker is not what its hash says")
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with zipfile.ZipFile(linker) as wheel:
            wheel.extractall(fresh)
    except zipfile.BadZipFile:
        raise HandOver("the linker is no wheel") from None
    for older in folder.parent.glob("rattler-*"):
        shutil.rmtree(older)
    fresh.rename(folder)
    return folder


class Linking:
    """One environment's packages, provided in the cache and then linked."""

    def __init__(
        self,
        base: Path,
        linker: Path,
        *,
        lock: int,
        seconds: float,
        network: bool = True,
        caches: Sequence[Path] = (),
    ) -> None:
        self._base, self._linker, self._lock, self._network, self._caches = base, linker, lock, network, caches
        self._deadline = time.monotonic() + seconds
        self._cache = base / "pkgs"
        self._fresh: list[dict[str, Any]] = []

    @property
    def _left(self) -> float:
        return max(1.0, self._deadline - time.monotonic())

    def provide(self, packages: Sequence[Package], anew: Sequence[str]) -> None:
        """Have every package in the cache; the unpacked folders of those named in `anew` are not believed.

        Raises:
            HandOver: conda has to do it.
            Refusal: A package cannot be had.
        """
        for package in packages:
            if package.name in anew:
                drop(self._cache, package.stem)
        absent = [package for package in packages if not is_unpacked(self._cache, package)]
        # A file of the environment and its copies in caches may be one and the same: what was altered is had afresh.
        altered = [package for package in absent if package.name in anew]
        absent = altered + borrow(self._caches, self._cache, [package for package in absent if package not in altered])
        if absent:
            # Only now: what the network takes to import would double the time of a lock that is all in the cache.
            from .conda_fetch import Fetcher, ask_reach

            reach = ask_reach(self._base, lock=self._lock, seconds=self._left) if self._network else None
            self._fresh = Fetcher(self._base, self._cache, reach, self._left).fetch(absent)
            note_urls(self._cache, absent)

    def link(
        self,
        prefix: Path,
        packages: Sequence[Package],
        *,
        reinstall: Sequence[str],
        gone: Sequence[str],
        specs: Sequence[str],
    ) -> None:
        """Link packages that were provided; what is neither among them nor `gone` stays as it is.

        Raises:
            HandOver: The linker does not run here; nothing was changed.
            Refusal: It failed.
        """
        job = {
            "linker": str(self._linker),
            "certificates": str(self._base / "ssl" / "cacert.pem"),
            "cache": str(self._cache),
            "prefix": str(prefix),
            "fresh": self._fresh,
            "packages": [{"stem": package.stem, "url": package.url} for package in packages],
            "reinstall": list(reinstall),
            "gone": list(gone),
            "specs": list(specs),
        }
        answer = self._run(job)
        if "error" in answer and drop_incomplete(self._cache, [package.stem for package in packages]):
            # Somebody took files out of the cache: once more, with fresh ones.
            self.provide(packages, [])
            answer = self._run(job | {"fresh": self._fresh})
        if "error" in answer:
            said = str(answer["error"])
            if "No space left" in said or "quota exceeded" in said:
                raise Refusal(explain({}, said, 1, []))
            raise Refusal(f"the packages could not be linked ({first_line(said)}); run again, it continues")

    def _run(self, job: Mapping[str, Any]) -> dict[str, Any]:
        # From within Ansible's archive, too.
        source = conda_linker.__loader__.get_source(conda_linker.__name__)  # type: ignore[union-attr]
        program = f"{source}\n\nmain(json.loads({json.dumps(job)!r}))\n"
        command = [str(self._base / "bin" / "python"), "-I", "-"]
        status, stdout, stderr = run_conda(command, lock=self._lock, seconds=self._left, stdin=program)
        answer = read_answer(stdout)
        if "refused" in answer:
            raise HandOver(f"the linker does not run on this machine ({first_line(str(answer['refused']))})")
        if status or not stdout:
            answer.setdefault("error", f"status {status}, {last_line(stderr)}")
        return answer
