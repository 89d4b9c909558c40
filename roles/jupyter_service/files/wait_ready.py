"""Wait until the Jupyter of this very service answers, locked, to its token; the unit starts no further before.

Usage: wait_ready.py LISTENER BASE_URL SECONDS [FILE ...]

LISTENER is the path of a unix socket or a port on 127.0.0.1. JUPYTER_RUNTIME_DIR, JUPYTER_TOKEN_FILE and MAINPID come
from the unit. With FILEs, the hash of their contents is noted in the runtime folder as what it was started from.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import sys
import time
from pathlib import Path

NOT_YET = "not yet"


class Connection(http.client.HTTPConnection):
    """HTTP over the server's own listener."""

    def __init__(self, listener: str) -> None:
        super().__init__("localhost", timeout=10)
        self.listener = listener

    def connect(self) -> None:
        """Open the unix socket or the port."""
        if self.listener.isdigit():
            self.sock = socket.create_connection(("127.0.0.1", int(self.listener)), self.timeout)
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self.listener)


def status(listener: str, path: str, token: str = "") -> int | None:
    """Return the status of one answer; None when there is none."""
    connection = Connection(listener)
    try:
        connection.request("GET", path, headers={"Authorization": "token " + token} if token else {})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def verdict(listener: str, base_url: str, runtime: Path, token_file: Path, pid: str) -> str:
    """Return the first thing that is not as it should be; empty when all is well."""
    if not Path("/proc", pid).exists():
        return "Jupyter has ended"
    # Written once the listener is bound: whoever else answers at that place is not ours.
    try:
        server = json.loads((runtime / f"jpserver-{pid}.json").read_text())
    except (OSError, ValueError):
        return NOT_YET
    # Jupyter goes on with its defaults when its configuration has a mistake.
    if listener not in (server["sock"], str(server["port"])) or server["base_url"] != base_url:
        return "Jupyter could not read its configuration"
    if status(listener, base_url + "api") != 200:
        return NOT_YET
    locked = status(listener, base_url + "api/contents?content=0")
    if locked != 403:
        return f"Jupyter answers {locked} to a visitor without the token, not 403"
    opened = status(listener, base_url + "api/contents?content=0", token_file.read_text())
    return "" if opened == 200 else f"Jupyter answers {opened} to its token, not 200"


def hide_token(runtime: Path, pid: str) -> None:
    """Take the token out of what Jupyter has written about itself; it stays in its own file alone.

    `jupyter server list` still finds the server; the page for a local browser serves nobody here.
    """
    note = runtime / f"jpserver-{pid}.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "token": ""}))
    (runtime / f"jpserver-{pid}-open.html").unlink(missing_ok=True)


def main(listener: str, base_url: str, seconds: str, *files: str) -> str:
    """Poll until all is well or the time is over; returns what is wrong, or nothing."""
    runtime = Path(os.environ["JUPYTER_RUNTIME_DIR"])
    token_file = Path(os.environ["JUPYTER_TOKEN_FILE"])
    deadline = time.monotonic() + float(seconds)
    while wrong := verdict(listener, base_url, runtime, token_file, os.environ["MAINPID"]):
        if wrong != NOT_YET:
            return wrong
        if time.monotonic() > deadline:
            return f"Jupyter did not answer at {listener} under {base_url} within {seconds} s"
        time.sleep(0.05)
    if files:
        whole = hashlib.sha256()
        for file in map(Path, files):
            whole.update(hashlib.sha256(file.read_bytes() if file.is_file() else b"").digest())
        (runtime / "started-from").write_text(whole.hexdigest())
        hide_token(runtime, os.environ["MAINPID"])
    return ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) or 0)
