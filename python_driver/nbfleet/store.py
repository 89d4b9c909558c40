"""What the driver remembers between two commands: endpoints, local ports, open forwards. Never a token."""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from nbfleet.endpoint import Endpoint
from nbfleet.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def default_root() -> Path:
    """Return NBFLEET_STATE_DIR, else nbfleet below the user's state folder."""
    if own := os.environ.get("NBFLEET_STATE_DIR"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "nbfleet"


class Store:
    """Files of 0600 in folders of 0700.

    Args:
        root: The folder; by default the one that `default_root` names.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    def folder(self, name: str) -> Path:
        """Return a private folder of the store, made if it is not there."""
        path = self.root / name
        for each in (self.root, path):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
            each.chmod(0o700)
        return path

    def save(self, endpoint: Endpoint) -> None:
        """Keep an endpoint, and with it the local port of an earlier forward."""
        self._write(
            "endpoints", endpoint.name, {**self._read("endpoints", endpoint.name), "endpoint": endpoint.to_json()}
        )

    def remember_port(self, name: str, local_port: int) -> None:
        """Keep the local port of an account for the next time."""
        self._write("endpoints", name, {**self._read("endpoints", name), "local_port": local_port})

    def last_port(self, name: str) -> int | None:
        """Return the local port used last for an account."""
        port = self._read("endpoints", name).get("local_port")
        return port if isinstance(port, int) else None

    def names(self) -> list[str]:
        """Return all accounts with an endpoint, sorted."""
        return sorted(unquote(path.stem) for path in (self.root / "endpoints").glob("*.json"))

    def get(self, name: str) -> Endpoint:
        """Return the endpoint of an account.

        Raises:
            SetupError: The account was never provisioned from here.
        """
        record = self._read("endpoints", name)
        if "endpoint" not in record:
            known = ", ".join(self.names()[:5])
            hint = f"Run nbfleet up {name} first." + (f" Known here: {known}." if known else "")
            raise SetupError(f"{name} is not known here.", hint=hint)
        return Endpoint.from_json(record["endpoint"])

    def find(self, patterns: Sequence[str]) -> list[Endpoint]:
        """Return the endpoints whose names match; all without a pattern. A plain unknown name is an error."""
        names = self.names()
        if not patterns:
            return [self.get(name) for name in names]
        found: dict[str, None] = {}
        for pattern in patterns:
            found.update(dict.fromkeys(fnmatch.filter(names, pattern) or [pattern]))
        return [self.get(name) for name in found]

    def forget(self, name: str) -> None:
        """Drop an account."""
        for kind in ("endpoints", "sessions"):
            self._path(kind, name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def session(self, name: str, data: dict[str, Any]) -> Iterator[bool]:
        """Hold the one session of an account for as long as the block lasts.

        The lock, not the process number in the file, tells whether a session lives.

        Yields:
            False if another process holds it already.
        """
        with self._open_lock(name) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            self._write("sessions", name, {**data, "pid": os.getpid()})
            try:
                yield True
            finally:
                self._path("sessions", name).unlink(missing_ok=True)

    def open_session(self, name: str) -> dict[str, Any] | None:
        """Return what a living session of an account wrote, or None."""
        if not self._lock(name).exists():
            return None
        with self._open_lock(name) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return self._read("sessions", name) or None
        return None

    def sessions(self) -> list[str]:
        """Return the accounts with a living session, sorted."""
        names = [unquote(path.stem) for path in (self.root / "sessions").glob("*.json")]
        return sorted(name for name in names if self.open_session(name))

    @staticmethod
    def file_name(name: str) -> str:
        """Return an account's name as it may stand in a file's."""
        return quote(name, safe="@:+")

    def _path(self, kind: str, name: str) -> Path:
        return self.root / kind / f"{self.file_name(name)}.json"

    def _lock(self, name: str) -> Path:
        return self.folder("sessions") / f"{self.file_name(name)}.lock"

    def _open_lock(self, name: str) -> IO[str]:
        return os.fdopen(os.open(self._lock(name), os.O_RDWR | os.O_CREAT, 0o600), "w")

    def _read(self, kind: str, name: str) -> dict[str, Any]:
        try:
            data = json.loads(self._path(kind, name).read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            return {}
        return data if isinstance(data, dict) else {}

    def _write(self, kind: str, name: str, data: dict[str, Any]) -> None:
        self.folder(kind)
        path = self._path(kind, name)
        new = path.with_suffix(f".{os.getpid()}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"version": 1, **data}, file, indent=2)
        new.replace(path)
