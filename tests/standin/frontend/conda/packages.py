"""The package cache: downloads, their sums, and the unpacked folders that environments are linked from."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from .errors import (
    ChecksumMismatchError,
    CondaError,
    CondaHTTPError,
    CondaMultiError,
    CondaVerificationError,
    PlainError,
)
from .network import Missing

if TYPE_CHECKING:
    from pathlib import Path

    from .context import Context
    from .network import Session


def stem(file_name: str) -> str:
    """A package's file name without its ending."""
    return file_name.removesuffix(".conda").removesuffix(".tar.bz2")


def _sums(path: Path) -> dict[str, str]:
    sums = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            for one in sums.values():
                one.update(piece)
    return {name: one.hexdigest() for name, one in sums.items()}


def _cached_record(folder: Path) -> dict[str, Any]:
    try:
        value = json.loads((folder / "info" / "repodata_record.json").read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def find(record: dict[str, Any], context: Context) -> Path | None:
    """The unpacked folder of a package if a cache has the very package.

    Args:
        record: With `fn` and, where known, `sha256` or `md5`.
        context: Names the caches.

    Returns:
        The folder, or nothing.
    """
    # Those that can be written first: rattler locks the folder that it links from.
    for cache in sorted(context.pkgs_dirs, key=lambda path: not os.access(path, os.W_OK)):
        folder = cache / stem(record["fn"])
        if not (folder / "info" / "index.json").is_file():
            continue
        known = _cached_record(folder)
        for kind in ("sha256", "md5"):
            wanted = record.get(kind)
            if wanted and known.get(kind):
                if str(wanted) == known[kind]:
                    return folder
                break
        else:
            if not record.get("sha256") and not record.get("md5"):
                return folder
    return None


def needs_download(record: dict[str, Any], context: Context) -> bool:
    """Whether a transaction would list a package under what is downloaded."""
    return find(record, context) is None and not any((cache / record["fn"]).is_file() for cache in context.pkgs_dirs)


def _get(record: dict[str, Any], context: Context, session: Session, cache: Path) -> Path:
    """Download, check and unpack one package; returns the unpacked folder."""
    archive = cache / record["fn"]
    url = str(record["url"])
    known = archive.is_file() and (not record.get("size") or archive.stat().st_size == record["size"])
    if not known:
        if context.get("offline") and not url.startswith("file://"):
            raise CondaHTTPError(url, "000", "CONNECTION FAILED", caused_by="OfflineError()")
        try:
            session.download(url, archive)
        except Missing as answer:
            cause = f"HTTPError('404 Client Error: {answer.reason} for url: {url}')"
            raise CondaHTTPError(url, 404, answer.reason, caused_by=cause, elapsed="00:00.001000") from answer
    sums = _sums(archive)
    if not url.startswith("file://"):
        for kind in ("sha256", "md5"):
            wanted = record.get(kind)
            if wanted and sums[kind] != wanted:
                archive.unlink()
                raise ChecksumMismatchError(url, archive, kind, str(wanted), sums[kind])
    folder = cache / stem(record["fn"])
    _unpack(archive, folder)
    index = json.loads((folder / "info" / "index.json").read_text())
    full = index | {key: value for key, value in record.items() if value is not None}
    full |= {"sha256": sums["sha256"], "md5": sums["md5"], "size": archive.stat().st_size}
    (folder / "info" / "repodata_record.json").write_text(json.dumps(full, indent=2, sort_keys=True))
    with (cache / "urls.txt").open("a") as listing:
        listing.write(f"{url}\n")
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    from rattler.package_streaming import extract

    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        extract(archive, fresh)
    except Exception as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if "os error 28" in str(error) or "No space left" in str(error):
            message = (
                f"Error with archive {archive}.  You probably need to delete and re-download or re-create this file.  "
                "Message was:\n\nfailed with error: [Errno 28] No space left on device"
            )
            raise PlainError(InvalidArchiveError(message)) from error
        archive.unlink(missing_ok=True)
        message = f"Error with archive {archive}.  Message was:\n\nfailed with error: {error}"
        raise PlainError(InvalidArchiveError(message)) from error
    shutil.rmtree(folder, ignore_errors=True)
    try:
        fresh.rename(folder)
    except OSError:
        # Another conda was faster with the very same package.
        shutil.rmtree(fresh, ignore_errors=True)
        if not (folder / "info" / "index.json").is_file():
            raise


def _copy(folder: Path, cache: Path) -> Path:
    """Copy an unpacked package from a cache that can only be read."""
    place = cache / folder.name
    fresh = cache / f".{folder.name}.{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, fresh, symlinks=True)
    fresh.rename(place)
    return place


class InvalidArchiveError(Exception):
    """A package's archive cannot be unpacked."""


def provide(records: list[dict[str, Any]], context: Context, session: Session) -> list[Path]:
    """Make sure that packages are unpacked in a cache.

    Args:
        records: The packages, with `fn`, `url` and sums.
        context: The configuration.
        session: For downloads.

    Returns:
        Their folders, in the same order.

    Raises:
        CondaMultiError: One or more packages could not be had.
    """
    folders: dict[int, Path] = {}
    todo: list[tuple[int, dict[str, Any]]] = []
    for number, record in enumerate(records):
        folder = find(record, context)
        if folder is None:
            todo.append((number, record))
        elif os.access(folder.parent, os.W_OK):
            folders[number] = folder
        else:
            folders[number] = _copy(folder, context.writable_pkgs_dir())
    errors: list[CondaError] = []
    if todo:
        cache = context.writable_pkgs_dir()
        with concurrent.futures.ThreadPoolExecutor(int(context.get("fetch_threads") or 5)) as pool:
            waiting = {pool.submit(_get, record, context, session, cache): number for number, record in todo}
            for done in concurrent.futures.as_completed(waiting):
                try:
                    folders[waiting[done]] = done.result()
                except CondaError as error:
                    # conda names such errors twice.
                    errors.extend([error, error])
                except OSError as error:
                    errors.append(PlainError(error))
    if errors:
        raise CondaMultiError(errors)
    return [folders[number] for number in range(len(records))]


def verify(folder: Path, name: str) -> dict[str, Any]:
    """Check that an unpacked package has all its files.

    Args:
        folder: The unpacked package.
        name: Its name, for the message.

    Returns:
        Its `repodata_record.json` over its `index.json`.

    Raises:
        CondaVerificationError: A file is missing.
    """
    paths = json.loads((folder / "info" / "paths.json").read_text())["paths"]
    for entry in paths:
        if not os.path.lexists(folder / entry["_path"]):
            raise CondaVerificationError(name, folder, entry["_path"])
    index = json.loads((folder / "info" / "index.json").read_text())
    return dict(index) | _cached_record(folder)
