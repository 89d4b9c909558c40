"""A clock for programs of a lab's machine that is not this computer's."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.machines import Lab


def clock_library(lab: Lab, folder: Path) -> str:
    """Return clock.c as a library, in base64; it is compiled in a folder of the test's."""
    library, source = folder / "clock.so", Path(__file__).with_name("clock.c")
    made = lab.run("tcc", "-shared", "-nostdinc", "-nostdlib", "-o", str(library), str(source))
    assert made.code == 0, made.err
    return base64.b64encode(library.read_bytes()).decode()
