"""The two sshd processes that tests of the ways share, one pair for each file."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import near_sshd
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """A folder with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="nf", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def near(short_folder: Path) -> Iterator[near_sshd.Near]:
    """A bastion and a node behind it."""
    if not near_sshd.SSHD:
        pytest.skip("sshd is not installed")
    with near_sshd.near(short_folder) as made:
        yield made
