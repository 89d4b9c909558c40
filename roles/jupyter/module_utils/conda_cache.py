# SPDX-License-Identifier: Apache-2.0
"""The prefix's package cache, in conda's own layout: one download serves conda, the linker and all environments."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, BinaryIO

from .conda_specs import masked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from .conda_locks import Package


class HandOver(Exception):  # noqa: N818 - it is an answer, not an accident
    """Why conda has to do it after all, in a sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(masked(sentence))


def is_unpacked(cache: Path, package: Package) -> bool:
    """Say whether the cache holds the very package, ready to be linked."""
    folder = cache / package.stem / "info"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known = json.loads((folder / "repodata_record.json").read_text(encoding="utf-8"))
        return known.get(package.kind) == package.digest and (folder / "index.json").is_file()
    return False


def note_urls(cache: Path, packages: Sequence[Package]) -> None:
    """Say where archives in the cache come from, as conda wants to know it."""
    with (cache / "urls.txt").open("a", encoding="utf-8") as urls:
        urls.writelines(f"{package.url}\n" for package in packages)


def holds(file: Path, package: Package) -> bool:
    """Say whether a file is the package's archive."""
    try:
        with file.open("rb") as stream:
            return digest_of(stream, package.kind) == package.digest
    except OSError:
        return False


def digest_of(stream: BinaryIO, kind: str) -> str:
    """Return the hash of a file; Python 3.9 has no file_digest."""
    found = hashlib.new(kind, usedforsecurity=False)
    while piece := stream.read(1 << 20):
        found.update(piece)
    return found.hexdigest()


def drop(cache: Path, stem: str) -> None:
    """Forget an unpacked package; its archive stays, its hash is asked before it is used again."""
    shutil.rmtree(cache / stem, ignore_errors=True)


def drop_incomplete(cache: Path, stems: Iterable[str]) -> list[str]:
    """Forget the unpacked packages that have lost a file, and return them."""
    lost = [stem for stem in stems if not _complete(cache / stem)]
    for stem in lost:
        drop(cache, stem)
    return lost


def _complete(folder: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, KeyError):
        listed = json.loads((folder / "info" / "paths.json").read_text(encoding="utf-8"))["paths"]
        return all(os.path.lexists(folder / entry["_path"]) for entry in listed)
    return False
