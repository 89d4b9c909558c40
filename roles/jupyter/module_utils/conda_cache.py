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


def untrusted(cache: Path) -> str:
    """Return why another cache is not to be believed, in a few words; empty when it is."""
    try:
        found = cache.stat()
    except OSError as error:
        return error.strerror or "not readable"
    if found.st_uid not in (0, os.getuid()):
        return "it belongs to another user, who could change what is in it"
    return "others than its owner can write there" if found.st_mode & 0o022 else ""


def borrow(caches: Iterable[Path], cache: Path, packages: Sequence[Package]) -> list[Package]:
    """Take unpacked packages from other caches into this one, and return those that none of them has."""
    absent = []
    for package in packages:
        source = next((other for other in caches if is_unpacked(other, package)), None)
        if not source:
            absent.append(package)
            continue
        fresh = cache / f".{package.stem}.nbfleet-new"
        shutil.rmtree(fresh, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source / package.stem, fresh, symlinks=True, copy_function=_link_or_copy)
        shutil.rmtree(cache / package.stem, ignore_errors=True)
        fresh.rename(cache / package.stem)
    return absent


def _link_or_copy(source: str, target: str) -> None:
    """Give a file a second name; where that is forbidden (fs.protected_hardlinks, another disk), copy it."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


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
