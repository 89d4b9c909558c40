"""Writes the channel's `repodata.json`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import zstandard

if TYPE_CHECKING:
    from pathlib import Path


def write(channel: Path, entries: list[dict[str, Any]]) -> None:
    """Write the index of each platform, plain and compressed.

    Args:
        channel: The channel's folder.
        entries: What `archive.write` returned.
    """
    for subdir in ("linux-64", "noarch"):
        table = {
            str(entry["fn"]): {key: value for key, value in sorted(entry.items()) if key != "fn"}
            for entry in sorted(entries, key=lambda entry: str(entry["fn"]))
            if entry["subdir"] == subdir
        }
        data = {
            "info": {"subdir": subdir},
            "packages": {},
            "packages.conda": table,
            "removed": [],
            "repodata_version": 1,
        }
        folder = channel / subdir
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(data, indent=1).encode()
        (folder / "repodata.json").write_bytes(text)
        (folder / "repodata.json.zst").write_bytes(zstandard.ZstdCompressor(level=3).compress(text))
