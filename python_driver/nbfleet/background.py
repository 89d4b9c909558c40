"""The process that keeps a forward open after the command has ended."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from nbfleet import process
from nbfleet.errors import ForwardError

if TYPE_CHECKING:
    from pathlib import Path

    from nbfleet.store import Store

BEGIN_SECONDS = 30.0
END_SECONDS = 6.0


def start(store: Store, name: str, local_port: int, page: Path | None) -> int:
    """Start the background process of an account, and wait until it holds the session.

    Returns:
        Its process number.

    Raises:
        ForwardError: It ended, or did not begin in time.
    """
    words = [sys.executable, "-m", "nbfleet.hold", name, str(local_port)]
    log_path = store.folder("sessions") / f"{store.file_name(name)}.log"
    with os.fdopen(os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as log:
        child = process.detach([*words, *([str(page)] if page else [])], log=log)
    deadline = time.monotonic() + BEGIN_SECONDS
    while not (session := store.open_session(name)):
        if child.poll() is not None or time.monotonic() > deadline:
            raise ForwardError(f"The background process of {name} did not begin.", hint=f"Its words are in {log_path}.")
        time.sleep(0.05)  # until the child has noted its session, has ended or is late
    return int(session["pid"])


def stop(store: Store, name: str) -> bool:
    """End whatever process holds the session of an account; return whether there was one."""
    session = store.open_session(name)
    if not session:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(int(session["pid"]), number)
        except ProcessLookupError:
            return True
        deadline = time.monotonic() + END_SECONDS
        while store.open_session(name) and time.monotonic() < deadline:
            time.sleep(0.05)  # between two looks; the next signal follows at the deadline
        if not store.open_session(name):
            return True
    return True
