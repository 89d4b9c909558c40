# SPDX-License-Identifier: Apache-2.0
"""Many packages as one file, on their way from the controller to an account."""

from __future__ import annotations

import shutil
import tarfile
from typing import TYPE_CHECKING

from .conda_specs import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .conda_locks import Package


def pack(archives: Mapping[str, Path], target: Path) -> int:
    """Put archives, by their names, into one file as they are (they are compressed); return its size."""
    with tarfile.open(target, "w") as tar:
        for name, archive in archives.items():
            tar.add(archive, arcname=name, recursive=False)
    return target.stat().st_size


def unpack(file: Path, cache: Path, packages: Sequence[Package]) -> None:
    """Take packages out of such a file into an account's cache, and nothing else; then the file goes.

    Raises:
        Refusal: It was cut.
    """
    known = {package.file for package in packages}
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(file) as tar:
            for member in tar:
                source = tar.extractfile(member) if member.name in known else None
                if source:
                    part = cache / f"{member.name}.nbfleet-part"
                    with source, part.open("wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
                    part.replace(cache / member.name)
    except (tarfile.TarError, EOFError) as error:
        raise Refusal(f"the packages did not arrive whole ({error}); run again") from None
    finally:
        for other in file.parent.glob("packages-*"):
            other.unlink(missing_ok=True)
