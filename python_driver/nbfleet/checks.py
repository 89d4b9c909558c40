"""What only this computer can tell about the way to an account: its hops, their keys, and whether it forwards."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

from nbfleet import probe, service
from nbfleet.errors import NbfleetError
from nbfleet.forward import free_port
from nbfleet.ssh import Connection

if TYPE_CHECKING:
    from nbfleet.endpoint import Endpoint

LEVELS = ("ok", "warn", "fail")
ANSWER_SECONDS = 5.0

Check = dict[str, str]


def check(name: str, level: str, says: str) -> Check:
    """Return one line: ok, warn (it works, and somebody should know) or fail (it does not)."""
    return {"check": name, "level": level, "says": says}


def worst(lines: list[Check]) -> str:
    """Return the worst level among some lines."""
    return max((line["level"] for line in lines), key=LEVELS.index, default="ok")


def of_the_way(endpoint: Endpoint) -> list[Check]:
    """Return how an account is reached from here, whose keys are known, and whether its machine forwards."""
    connection = Connection(endpoint.ssh, ask=False)
    try:
        connection.open()
        hops = [hop.title for hop in connection.hops()]
    except NbfleetError as error:
        return [check("reached", "fail", f"{error} {error.hint}".strip())]
    way = " → ".join([*hops, endpoint.ssh.title])
    keys = "the key of each machine on the way is known and checked"
    return [check("reached", "ok", way), check("host keys", "ok", keys), forwards(connection, endpoint)]


def forwards(connection: Connection, endpoint: Endpoint) -> Check:
    """Try a forward: to Jupyter where it answers, else to the account's own SSH server."""
    running = service.status(connection, endpoint).answers is True
    port = connection.run("echo ${SSH_CONNECTION##* }\n").out.strip().splitlines()[-1:]
    place = endpoint.destination if running else f"127.0.0.1:{port[0] if port else 22}"
    local = free_port(None)
    try:
        connection.forward(local, place)
        works = probe.answers_within(ANSWER_SECONDS, local, endpoint) if running else greets(local)
    except NbfleetError as error:
        return check("forwarding", "warn", str(error))
    finally:
        connection.cancel(local, place)
    if works:
        return check(
            "forwarding", "ok", "to Jupyter" if running else "to a port there; Jupyter is not there to be tried"
        )
    return check("forwarding", "warn", "SSH forwards nothing there; a session will carry the connections")


def greets(port: int) -> bool:
    """Tell whether an SSH server greets behind a local port, within a limit."""
    deadline = time.monotonic() + ANSWER_SECONDS
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as server:
        server.settimeout(max(0.1, deadline - time.monotonic()))
        return server.recv(4) == b"SSH-"
    return False
