# SPDX-License-Identifier: Apache-2.0
"""The controller's store of packages: downloaded there once, for accounts that shall not or cannot do it themselves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from .conda_cache import HandOver, digest_of, holds
from .conda_fetch import Fetcher, Reach
from .conda_records import write
from .conda_specs import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .conda_locks import Package

HERE = Reach({}, True, "", "")


def place_of(package: Package) -> Path:
    """Return where a package lies in a store: platforms may have files of the same name."""
    return Path("packages", package.url.rsplit("/", 2)[-2], package.file)


def provide(store: Path, packages: Sequence[Package], *, besides: Path | None = None, seconds: float) -> None:
    """Have packages in the store; what is there and right is not downloaded again.

    Args:
        store: The folder.
        packages: What is wanted.
        besides: Another store that is looked into before the network is asked.
        seconds: How long it may take.

    Raises:
        Refusal: One cannot be had.
    """
    for subdir in sorted({place_of(package).parent for package in packages}):
        group = [package for package in packages if place_of(package).parent == subdir]
        (store / subdir).mkdir(parents=True, exist_ok=True)
        for package in group:
            ready = besides / place_of(package) if besides else None
            if ready and ready.is_file() and not (store / place_of(package)).exists():
                partial = (store / subdir) / f".{package.file}.new"
                shutil.copyfile(ready, partial)
                partial.replace(store / place_of(package))
        try:
            Fetcher(store, store / subdir, HERE, seconds, asker="this computer").fetch(group)
        except HandOver as reason:
            raise Refusal(
                f"{reason}; this computer has none, so let the accounts download (jupyter_source: account)"
            ) from None


def lacking(store: Path, packages: Sequence[Package]) -> list[str]:
    """Return the files of the packages that the store does not hold as their hashes say."""
    return [package.file for package in packages if not holds(store / place_of(package), package)]


def note_sums(store: Path) -> bool:
    """Write SHA256SUMS of all files of a store; say whether it is another than before."""
    # What begins with a dot is of a run that was killed or is at work.
    found = (path for path in store.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    files = sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(store).parts))
    lines = []
    for path in files:
        with path.open("rb") as stream:
            lines.append(f"{digest_of(stream, 'sha256')}  {path.relative_to(store)}\n")
    file, text = store / "SHA256SUMS", "".join(lines)
    changed = not file.exists() or file.read_text(encoding="utf-8") != text
    write(file, text, 0o644)
    return changed
