# SPDX-License-Identifier: Apache-2.0
"""Compiled Python files of an environment: without them its next start compiles all that it imports."""

from __future__ import annotations

import contextlib
import os
from importlib.util import source_from_cache
from pathlib import Path

from .conda_run import run_conda


def compile_all(environment: Path, *, lock: int, seconds: float) -> None:
    """Compile what is not compiled yet, and remove what packages that are gone have left; for who may only read it.

    A file that is for another Python's syntax cannot be compiled, and is never imported, so the status says nothing.
    """
    python = environment / "bin" / "python"
    for folder in sorted(environment.glob("lib/python3.*/site-packages")):
        if python.exists():
            run_conda([str(python), "-Im", "compileall", "-qq", "-j", "0", str(folder)], lock=lock, seconds=seconds)
        for file in list(folder.rglob("__pycache__/*.pyc")):
            if not _has_source(file):
                file.unlink()
                with contextlib.suppress(OSError):  # these go where nothing is left in them
                    file.parent.rmdir()
                    file.parent.parent.rmdir()


def take_over(before: Path, after: Path) -> None:
    """Let an environment have what another one has compiled, of sources that are one and the same file in both.

    So both have it by links to the package cache, of the same package, with the size and time that Python compares. The
    path that is compiled in is corrected at the import (`_fix_co_filename` in CPython's import.c).
    """
    for file in before.glob("lib/python3.*/**/__pycache__/*.pyc"):
        source = _source(file)
        twin = after / file.relative_to(before)
        with contextlib.suppress(OSError):  # not in both, or on a file system without links: compiled when it is needed
            if source and source.samefile(after / source.relative_to(before)):
                twin.parent.mkdir(exist_ok=True)
                os.link(file, twin)


def _has_source(file: Path) -> bool:
    source = _source(file)
    return source is None or source.exists()


def _source(file: Path) -> Path | None:
    """Return what a compiled file was made from; None for a name that no Python gives, which is not ours to judge."""
    try:
        return Path(source_from_cache(str(file)))
    except ValueError:
        return None
