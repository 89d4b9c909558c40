"""Reading and rewriting condarc files; comments and order of a rewritten file stay."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def _round_trip() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt", pure=True)
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 10000
    return yaml


def parse(text: str, path: Path) -> dict[str, Any]:
    """Parse a condarc file.

    Args:
        text: Its contents.
        path: Its place, named in the parser's message.

    Returns:
        The top level; empty if the file is empty or no mapping.
    """
    from ruamel.yaml import YAML

    stream = io.StringIO(text)
    stream.name = str(path)
    value = YAML(typ="safe", pure=True).load(stream)
    return dict(value) if isinstance(value, dict) else {}


def load_for_change(text: str) -> Any:
    """Parse a condarc file so that `dump` writes it back with its comments."""
    value = _round_trip().load(text)
    if value is None:
        from ruamel.yaml.comments import CommentedMap

        value = CommentedMap()
    return value


def dump(value: Any) -> str:
    """The text of a mapping, as conda formats condarc files."""
    if not value:
        return ""
    out = io.StringIO()
    _round_trip().dump(value, out)
    return out.getvalue()
