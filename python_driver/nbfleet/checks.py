"""What only this computer can tell about the way to an account: its hops, their keys, and whether it forwards."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

from nbfleet import bridge, probe, service
from nbfleet.errors import NbfleetError
from nbfleet.forward import free_port
from nbfleet.ssh import Connection

if TYPE_CHECKING:
    from nbfleet.endpoint import Endpoint

LEVELS = ("ok", "warn", "fail")
ANSWER_SECONDS = 5.0

# By how Jupyter listens: what says where another server does, what makes that one speak, and the settings that forbid.
LISTENERS = {
    "socket": 'for bus in "${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/bus" /run/dbus/system_bus_socket; do\n'
    '  if [ -S "$bus" ]; then echo "nbfleet:$bus" && break; fi\ndone\n',
    "tcp": 'port=${SSH_CONNECTION##* }\necho "nbfleet:127.0.0.1:${port:-22}"\n',
}
GREETINGS = {"socket": b"\0AUTH\r\n", "tcp": b""}
# sshd asks the latter for sockets, too.
SETTINGS = {"socket": "AllowStreamLocalForwarding, AllowTcpForwarding", "tcp": "AllowTcpForwarding"}

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
    """Try a forward: to Jupyter where it answers, else to another server that listens as Jupyter will."""
    if why := bridge.carried(endpoint):
        return check("forwarding", "ok", f"a session carries the connections, as {why}")
    running = service.status(connection, endpoint).answers is True
    way = "a socket" if endpoint.listen == "socket" else "a port"
    place = endpoint.destination if running else listener(connection, endpoint)
    if not place:
        return check("forwarding", "ok", f"not tried, as nothing listens on {way} there before Jupyter does")
    local = free_port(None)
    try:
        connection.forward(local, place)
        works = (
            probe.answers_within(ANSWER_SECONDS, local, endpoint)
            if running
            else speaks(local, GREETINGS[endpoint.listen])
        )
    except NbfleetError as error:
        return check("forwarding", "warn", str(error))
    finally:
        connection.cancel(local, place)
    if works:
        says = "to Jupyter" if running else f"to {way} there; Jupyter is not there to be tried"
        return check("forwarding", "ok", says)
    says = f"SSH forwards nothing to {way} there ({SETTINGS[endpoint.listen]}); a session will carry the connections"
    return check("forwarding", "warn", says)


def listener(connection: Connection, endpoint: Endpoint) -> str:
    """Return where a message bus or the SSH server listens, as Jupyter will; nothing: there is no bus."""
    return connection.run(LISTENERS[endpoint.listen]).out.partition(service.MARK)[2].strip()


def speaks(port: int, greeting: bytes) -> bool:
    """Tell whether anything answers a greeting behind a local port, within a limit."""
    deadline = time.monotonic() + ANSWER_SECONDS
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as server:
        server.settimeout(max(0.1, deadline - time.monotonic()))
        server.sendall(greeting)
        return server.recv(1) != b""
    return False
