"""The forward to one account's Jupyter: opened, proved, watched, and rebuilt on the same local port."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

from nbfleet import bridge, client, probe, process, service
from nbfleet.errors import ForwardError, NbfleetError
from nbfleet.ssh import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfleet.endpoint import Endpoint

PING = 5.0  # seconds between two questions to the far side
SILENCE = 20.0  # seconds without an answer after which the connection counts as dead
ECHO = 10.0  # seconds that a silent connection has for one more answer before it is ended
REFUSED = 1.0  # seconds without an answer after which the server is asked whether it is there at all
LONGEST_PAUSE = 30.0  # seconds between two attempts to come back


def free_port(preferred: int | None) -> int:
    """Return `preferred` if it is free on 127.0.0.1, else any free port."""
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket() as probe_socket:
            probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe_socket.bind(("127.0.0.1", port))
                return int(probe_socket.getsockname()[1])
    raise ForwardError("No local port is free.", hint="End some programs that listen on this computer.")


def require_free(port: int) -> None:
    """Refuse a taken port before anything long begins.

    Raises:
        ForwardError: It is taken.
    """
    if free_port(port) != port:
        raise ForwardError(
            f"The local port {port} is taken by another program.",
            hint="End that program, choose another port with --port, or leave --port out.",
        )


def close_port(connection: Connection, endpoint: Endpoint, local_port: int) -> None:
    """Close what leads from a local port to an account, whichever way; nothing there is no error."""
    bridge.end(connection, endpoint, local_port)
    if client.version() >= client.SOCKET_FORWARD:
        connection.cancel(local_port, endpoint.destination)


class Forward:
    """A forward to one account.

    Attributes:
        bridge: `forward` for ssh's own, `session` where a session carries the connections.
        by: What the keeper's session is in, as `service.Running` says it.

    Args:
        endpoint: The account.
        local_port: Where to listen on 127.0.0.1.
        connection: The way there; by default one that may ask at the terminal.
    """

    def __init__(self, endpoint: Endpoint, local_port: int, *, connection: Connection | None = None) -> None:
        self.endpoint = endpoint
        self.local_port = local_port
        self.connection = connection or Connection(endpoint.ssh)
        self.token = ""
        self.started = False
        self.by: str | None = None
        self.bridge = "forward"
        self._pulse: process.Child[str] | None = None
        self._last_echo = 0.0

    def __repr__(self) -> str:
        """Show the account and the port, not the token."""
        return f"Forward({self.endpoint.name!r}, {self.local_port})"

    def open(self) -> None:
        """Open the way and prove it: master, service, token, forward, HTTP.

        Raises:
            NbfleetError: The step that failed, in one sentence.
        """
        self.connection.open()
        running = service.ensure_running(self.connection, self.endpoint)
        self.token, self.started, self.by = running.token, running.started, running.by
        try:
            self._lead()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the forward; the master stays for the next command, a few minutes."""
        self.leave()
        with contextlib.suppress(NbfleetError):
            close_port(self.connection, self.endpoint, self.local_port)

    def leave(self) -> None:
        """Leave the forward open in the master, for another process to keep."""
        if self._pulse:
            process.end(self._pulse)
            self._pulse = None

    def watch(self) -> None:
        """Start a far `cat`: it keeps the master in use, ends when that ends, and echoes while the line lives."""
        self._pulse = self.connection.stream(["cat"])
        self._last_echo = self._asked = time.monotonic()
        threading.Thread(target=self._listen, args=(self._pulse,), daemon=True).start()

    def alive(self) -> bool:
        """Tell whether the far side still answers over the SSH connection, once it is watched."""
        pulse = self._pulse
        if not pulse or not pulse.stdin or pulse.poll() is not None:
            return False
        return time.monotonic() - self._last_echo < SILENCE

    def keep(self, stop: threading.Event, say: Callable[[str], None]) -> None:
        """Watch until `stop` is set; when the connection is lost, come back on the same local port.

        Args:
            stop: Set by whoever wants it to end.
            say: Told of each change, one sentence.
        """
        self.watch()
        answered = True
        while not stop.wait(0.5):
            asked = self._ask()
            if not self.alive():
                say(f"{self.endpoint.name}: the connection is lost; trying to come back.")
                self._come_back(stop, say)
                answered = True
            elif asked:
                now = probe.alive(self.local_port, self.endpoint)
                if now != answered:
                    answered = now
                    say(f"{self.endpoint.name}: " + ("Jupyter answers again." if now else self._gone()))

    def _come_back(self, stop: threading.Event, say: Callable[[str], None]) -> None:
        began, pause, last = time.monotonic(), 1.0, ""
        self.connection.ask = False  # nobody wants a password question out of the blue
        while not stop.is_set():
            self._abandon()
            try:
                self.open()
                self.watch()
            except NbfleetError as error:
                if str(error) != last:
                    last = str(error)
                    named = "" if self.endpoint.name in last else f"{self.endpoint.name}: "
                    say(f"{named}{last} {error.hint}")
            else:
                say(f"{self.endpoint.name}: back after {time.monotonic() - began:.0f} s, at the same address.")
                return
            stop.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _abandon(self) -> None:
        """Give up what is left of this forward, so that its port is free.

        The master is ended only if it is dead: others, a running `nbfleet up` above all, use it too. A dead jump host's
        ends by itself.
        """
        self.leave()
        with contextlib.suppress(NbfleetError):
            if self.connection.answers(seconds=ECHO):
                close_port(self.connection, self.endpoint, self.local_port)
            else:
                bridge.end(self.connection, self.endpoint, self.local_port)
                self.connection.close()

    def _lead(self) -> None:
        """Lead the local port to the server: by ssh's own forward, by a bridge where that is not to be had."""
        if bridge.carried(self.endpoint) or bridge.alive(self.connection, self.endpoint, self.local_port):
            self.bridge = "session"
        if self.bridge == "forward":
            self.connection.forward(self.local_port, self.endpoint.destination)
            if not probe.answers_within(REFUSED, self.local_port, self.endpoint) and self._answers_there():
                self.connection.cancel(self.local_port, self.endpoint.destination)
                self.bridge = "session"
        if self.bridge == "session":
            bridge.start(self.connection, self.endpoint, self.local_port)
        probe.wait_until_ready(self.local_port, self.endpoint, self.token)

    def _answers_there(self) -> bool:
        """Tell whether the server answers on its own machine: then the SSH server there forwards nothing to it."""
        return service.status(self.connection, self.endpoint).answers is True

    def _listen(self, pulse: process.Child[str]) -> None:
        with contextlib.suppress(OSError, ValueError):
            for _ in pulse.stdout or ():
                self._last_echo = time.monotonic()

    def _ask(self) -> bool:
        """Send a line to the far side if it is time for one."""
        now = time.monotonic()
        if now - self._asked < PING or not self._pulse or not self._pulse.stdin:
            return False
        if now - self._asked > 3 * PING:
            self._last_echo = now  # this computer slept: give the line a chance before it counts as dead
        self._asked = now
        with contextlib.suppress(OSError):
            self._pulse.stdin.write("\n")
        return True

    def _gone(self) -> str:
        return f"Jupyter does not answer any more; if you did not stop it: nbfleet restart {self.endpoint.name}."
