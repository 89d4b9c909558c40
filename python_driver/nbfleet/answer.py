"""What a verb gives back; only cli.py shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nbfleet.errors import NbfleetError


@dataclass(frozen=True)
class Answer:
    """The outcome of a verb.

    Attributes:
        data: For `--json`.
        text: The same for people, for standard output; may be empty.
        error: A failure that came with data.
        lines: More output, line by line, for as long as it comes.
        then: What is left to do after the answer was shown, such as holding a forward open.
    """

    data: dict[str, Any]
    text: str = ""
    error: NbfleetError | None = None
    lines: Iterable[str] | None = None
    then: Callable[[], None] | None = None


def columns(rows: list[list[str]]) -> str:
    """Return rows of words as aligned columns."""
    if not rows:
        return ""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
