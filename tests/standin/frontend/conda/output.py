"""What goes to the terminal: lines of progress, tables, JSON."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def say(text: str) -> None:
    """Write to stdout at once, without adding a newline."""
    sys.stdout.write(text)
    sys.stdout.flush()


def silent(_text: str) -> None:
    """Take a line of progress and show nothing."""


def speaker(*, json_wanted: bool) -> Callable[[str], None]:
    """Where lines of progress go: nowhere with `--json`."""
    return silent if json_wanted else say


def as_json(value: Any) -> None:
    """Print one JSON value, indented by two."""
    say(json.dumps(value, indent=2) + "\n")


def package_table(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """The table of `conda list`: name, version, build, channel."""
    head = ("# Name", "Version", "Build", "Channel")
    least = (25, 15, 15, 0)
    widths = [max([least[column], *(len(row[column]) for row in rows)]) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [head, *rows]]
    return "\n".join(lines) + "\n"


def size(number: int) -> str:
    """A size in bytes as conda prints it."""
    value = float(number)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1024 or unit == "GB":
            return f"{value:.0f} {unit}" if unit in {"B", "KB"} else f"{value:.1f} {unit}"
        value /= 1024
    return ""
