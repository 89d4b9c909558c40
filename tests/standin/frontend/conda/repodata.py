"""The channels' indexes: fetched into the package cache, read by rattler."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from .channels import SUBDIRS
from .errors import CondaHTTPError, UnavailableInvalidChannel
from .network import Missing

if TYPE_CHECKING:
    from pathlib import Path

    from .context import Context
    from .network import Session


def fetch(urls: list[str], context: Context, session: Session) -> list[tuple[str, str, Path]]:
    """Get the index of each channel for each platform.

    Args:
        urls: The channels' addresses.
        context: The configuration; offline means that only the cached index is used.
        session: For downloads.

    Returns:
        (address, subdir, file) for each index.

    Raises:
        UnavailableInvalidChannel: There is no channel at that address.
        FileNotFoundError: Offline, and nothing cached.
    """
    folder = context.writable_pkgs_dir() / "cache"
    folder.mkdir(exist_ok=True)
    found = []
    for url in urls:
        missing: list[str] = []
        for subdir in SUBDIRS:
            address = f"{url}/{subdir}/repodata.json"
            path = folder / f"{hashlib.md5(address.encode(), usedforsecurity=False).hexdigest()[:8]}.json"
            if context.get("offline") and not url.startswith("file://"):
                if not path.is_file():
                    message = f"failed to open file `{path}`: No such file or directory (os error 2)"
                    raise FileNotFoundError(message)
                found.append((url, subdir, path))
                continue
            try:
                session.download(address, path)
                json.loads(path.read_bytes())
            except Missing as answer:
                missing.append(answer.reason)
                path.write_text(json.dumps({"info": {"subdir": subdir}, "packages": {}, "packages.conda": {}}))
            except ValueError:
                path.unlink()
                raise
            found.append((url, subdir, path))
        if len(missing) == len(SUBDIRS):
            code: int | str = "404"
            if not url.startswith("file://"):
                code = 404
            raise UnavailableInvalidChannel(url, code, missing[0])
    return found


def all_records(indexes: list[tuple[str, str, Path]]) -> list[dict[str, Any]]:
    """Every package of the indexes, each with `fn`, `url` and `channel`."""
    records = []
    for url, subdir, path in indexes:
        data = json.loads(path.read_bytes())
        for table in ("packages", "packages.conda"):
            for name, record in data.get(table, {}).items():
                place = f"{url}/{subdir}"
                records.append(dict(record) | {"fn": name, "url": f"{place}/{name}", "channel": place})
    return records


__all__ = ["CondaHTTPError", "all_records", "fetch"]
