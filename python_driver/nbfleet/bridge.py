"""The way to a server whose machine lets ssh forward nothing: a session that carries all connections (`carry.py`).

Like a forward it belongs to no command: it runs on for the next one, until it is ended, ssh goes, or nobody comes.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import signal
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from nbfleet import client, process
from nbfleet.errors import ForwardError
from nbfleet.keepers import MAIN_PID

if TYPE_CHECKING:
    from nbfleet.endpoint import Endpoint
    from nbfleet.ssh import Connection

END_SECONDS = 5.0  # that it has to end by itself, and then by force

# The server's own Python; the program comes as an argument, as some shells read ahead on standard input.
_FAR = (
    MAIN_PID + 'exec "$(readlink -f "/proc/$pid/exe")" -I '
    '-c "import sys,zlib,base64;exec(zlib.decompress(base64.b64decode(sys.argv.pop(1))))" "$0" far "$3"'
)


def carried(endpoint: Endpoint) -> str:
    """Return why a session carries the connections in any case; nothing: ssh may forward them."""
    if client.version() < client.SOCKET_FORWARD:
        return "the ssh of this computer is too old to forward"
    # What ssh forwards, the admin who logs in would have to reach.
    if endpoint.ssh.identity and endpoint.listen == "socket":
        return f"the socket is {endpoint.user}'s alone and the login another's"
    return ""


def start(connection: Connection, endpoint: Endpoint, local_port: int) -> None:
    """Listen on 127.0.0.1 and carry what comes to the account's server; one that is there already is used.

    Raises:
        ForwardError: The local port is taken, or the far end does not begin.
    """
    path = _record(connection, endpoint, local_port)
    if _holder(path):
        return
    text = base64.b64encode(zlib.compress(Path(__file__).with_name("carry.py").read_bytes(), 9)).decode()
    place = endpoint.socket if endpoint.listen == "socket" else str(endpoint.port)
    far = connection.command(["sh", "-c", _FAR, text, endpoint.keeper, endpoint.unit, place or ""])
    near = [sys.executable, "-P", "-m", "nbfleet.carry", "near", str(local_port)]
    with path.open("w") as record:
        fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child = process.start([*near, *connection.session(), far], keep=[record.fileno()])
        record.write(str(child.pid))
        record.flush()
    if child.stdout and child.stdout.readline() != "open\n":  # it has a limit of its own
        process.end(child)
        raise ForwardError(
            f"{endpoint.name}: nothing could be carried to Jupyter over a session on its machine.",
            hint=f"Look at nbfleet status {endpoint.name}, and whether the local port {local_port} is free.",
        )


def end(connection: Connection, endpoint: Endpoint, local_port: int) -> None:
    """End the bridge on a local port; one that is not there is no error.

    Raises:
        ForwardError: It does not end.
    """
    path = _record(connection, endpoint, local_port)
    pid = _holder(path)
    began = time.monotonic()
    while pid and _holder(path) == pid:
        waited = time.monotonic() - began
        if waited > 2 * END_SECONDS:
            raise ForwardError(
                f"{endpoint.name}: the bridge on the local port {local_port}, process {pid}, does not end.",
                hint="Look at that process, and end it or restart this computer.",
            )
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM if waited < END_SECONDS else signal.SIGKILL)
        time.sleep(0.05)  # between two looks for its end
    path.unlink(missing_ok=True)


def alive(connection: Connection, endpoint: Endpoint, local_port: int) -> bool:
    """Tell whether a bridge listens on a local port for this account."""
    return _holder(_record(connection, endpoint, local_port)) is not None


def _record(connection: Connection, endpoint: Endpoint, local_port: int) -> Path:
    """Return the file that a bridge holds locked while it lives."""
    words = f"{connection.path} {endpoint.destination} {local_port}"
    return connection.folder / f"bridge-{hashlib.sha256(words.encode()).hexdigest()[:12]}"


def _holder(path: Path) -> int | None:
    """Return the process that holds the file."""
    with contextlib.suppress(FileNotFoundError), path.open("r+") as record:
        try:
            fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(record.read() or 0) or None
    return None
