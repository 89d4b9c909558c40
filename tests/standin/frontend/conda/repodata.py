"""The channels' indexes: fetched into the package cache, read by rattler."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .channels import SUBDIRS
from .errors import CondaHTTPError, LockError, UnavailableInvalidChannel
from .network import Missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .context import Context
    from .network import Session

_BYTE, _ATTEMPTS, _PAUSE = 21, 10, 1


@contextlib.contextmanager
def _locked(state: Path, mode: str, context: Context) -> Iterator[IO[str]]:
    """Hold the lock of an index in the cache: a byte of the file that says from when the index is.

    The byte, the attempts and the seconds between them are conda's (conda/gateways/disk/lock.py), and so is what is
    done under the lock: the cache is read and replaced, and the network asked without it (`RepodataCache` in
    conda/gateways/repodata/__init__.py).

    Raises:
        LockError: Another process had it at every attempt.
    """
    with state.open(mode) as file:
        for attempt in range(0 if context.get("no_lock") else _ATTEMPTS):
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _BYTE)
                break
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                if attempt == _ATTEMPTS - 1:
                    raise LockError from error
            time.sleep(_PAUSE)
        yield file


def _read(path: Path, context: Context) -> None:
    """Look at an index in the cache, if there is one."""
    with contextlib.suppress(FileNotFoundError), _locked(path.with_suffix(".info.json"), "r+", context) as state:
        state.read()


def _replace(path: Path, fresh: Path, context: Context) -> None:
    """Put a new index in the place of the one in the cache."""
    with _locked(path.with_suffix(".info.json"), "a+", context) as state:
        found = fresh.stat()
        fresh.replace(path)
        state.truncate(0)
        state.write(json.dumps({"mtime_ns": found.st_mtime_ns, "size": found.st_size, "refresh_ns": time.time_ns()}))


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
        LockError: Another conda has the lock of an index.
    """
    folder = context.writable_pkgs_dir() / "cache"
    folder.mkdir(exist_ok=True)
    found = []
    for url in urls:
        missing: list[str] = []
        for subdir in SUBDIRS:
            address = f"{url}/{subdir}/repodata.json"
            path = folder / f"{hashlib.md5(address.encode(), usedforsecurity=False).hexdigest()[:8]}.json"
            _read(path, context)
            if context.get("offline") and not url.startswith("file://"):
                if not path.is_file():
                    message = f"failed to open file `{path}`: No such file or directory (os error 2)"
                    raise FileNotFoundError(message)
                found.append((url, subdir, path))
                continue
            with tempfile.TemporaryDirectory(dir=folder) as aside:
                fresh = Path(aside, path.name)
                try:
                    session.download(address, fresh)
                    json.loads(fresh.read_bytes())
                except Missing as answer:
                    missing.append(answer.reason)
                    fresh.write_text(json.dumps({"info": {"subdir": subdir}, "packages": {}, "packages.conda": {}}))
                _replace(path, fresh, context)
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
