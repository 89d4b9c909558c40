"""The few HTTP questions to a notebook server at the near end of its forward."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from nbfleet.errors import ForwardError

if TYPE_CHECKING:
    from nbfleet.endpoint import Endpoint


def get(port: int, path: str, *, token: str = "", timeout: float = 5) -> int | None:
    """Ask the server behind a local port for a path; return its HTTP status, None if nothing answers HTTP there.

    Written out, as Python's own HTTP client takes longer to load than the question takes to be answered.
    """
    lines = [f"GET {path} HTTP/1.0", f"Host: localhost:{port}", *([f"Authorization: token {token}"] if token else [])]
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as server:
            server.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            with server.makefile("rb") as answer:
                words = answer.readline(200).split()
    except OSError:
        return None
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() else None


def alive(port: int, endpoint: Endpoint, *, timeout: float = 5) -> bool:
    """Tell whether a notebook server answers at this account's own path; needs no token and wakes nobody."""
    return get(port, f"{endpoint.base_url}api", timeout=timeout) == 200


def answers_within(seconds: float, port: int, endpoint: Endpoint) -> bool:
    """Poll until a server answers at this account's own path, or the time is over."""
    deadline = time.monotonic() + seconds
    pause = 0.01
    while not alive(port, endpoint):
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)  # nothing tells when a server answers; up to the deadline
        pause = min(pause * 1.5, 0.25)
    return True


def wait_until_ready(port: int, endpoint: Endpoint, token: str, *, seconds: float = 30) -> None:
    """Poll until that very server answers: its own path without the token first, then with it.

    Args:
        port: Local end of the forward.
        endpoint: The account.
        token: Its secret, which no other server takes.
        seconds: How long to wait.

    Raises:
        ForwardError: Nothing answered in time, or another server did.
    """
    if not answers_within(seconds, port, endpoint):
        raise ForwardError(
            f"{endpoint.name}: waited {seconds:.0f} s for {endpoint.url(port)}api: the server does not answer there.",
            hint=f"Try nbfleet restart {endpoint.name}, or look at nbfleet logs {endpoint.name}.",
        )
    status = get(port, f"{endpoint.base_url}api/me", token=token)
    if status != 200:
        said = f"status {status}" if status else "no answer"
        raise ForwardError(
            f"{endpoint.name}: the server behind 127.0.0.1:{port} does not accept this account's token ({said}).",
            hint=f"Perhaps the token was changed under a running server: nbfleet restart {endpoint.name}.",
        )
