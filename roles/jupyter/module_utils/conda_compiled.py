# SPDX-License-Identifier: Apache-2.0
"""Compiled Python files of an environment that its users may only read: without them every start compiles all anew."""

from __future__ import annotations

import contextlib
from importlib.util import source_from_cache
from pathlib import Path

from .conda_run import run_conda


def compile_all(environment: Path, *, lock: int, seconds: float) -> None:
    """Compile what is not compiled yet, and remove what packages that are gone have left.

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


def _has_source(file: Path) -> bool:
    try:
        return Path(source_from_cache(str(file))).exists()
    except ValueError:  # a name that no Python gives: not ours to judge
        return True
