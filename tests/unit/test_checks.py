"""checks.py through two real sshd processes: what the doctor says of the forward, before Jupyter is there and after."""

from __future__ import annotations

import socketserver
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nbfleet import checks, control
from nbfleet.ssh import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    import near_sshd
    from nbfleet.endpoint import Endpoint


class Bus(socketserver.BaseRequestHandler):
    """Answers as a message bus does to a stranger."""

    def handle(self) -> None:
        if self.request.recv(100) == b"\0AUTH\r\n":
            self.request.sendall(b"REJECTED EXTERNAL\r\n")


@pytest.fixture(autouse=True)
def _runtime(near: near_sshd.Near, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", tempfile.mkdtemp(dir=near.folder))
    (near.folder / "state").write_text("active\n")
    yield
    control.close_since(0)


@pytest.fixture
def absent(near: near_sshd.Near, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """An account whose Jupyter is not there yet; its machine has a message bus."""
    bus = Path(tempfile.mkdtemp(dir=near.folder), "bus")
    script = checks.LISTENERS["socket"].replace("/run/dbus/system_bus_socket", str(bus))
    monkeypatch.setitem(checks.LISTENERS, "socket", script)
    (near.folder / "state").write_text("inactive\n")
    with socketserver.ThreadingUnixStreamServer(str(bus), Bus) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield replace(near.endpoint, socket=f"{near.folder}/absent.sock")
        server.shutdown()


def said(endpoint: Endpoint) -> str:
    connection = Connection(endpoint.ssh, ask=False)
    connection.open()
    found = checks.forwards(connection, endpoint)
    return f"{found['level']}: {found['says']}"


def test_a_jupyter_that_answers_is_what_is_tried(near: near_sshd.Near) -> None:
    assert said(near.endpoint) == "ok: to Jupyter"
    for setting in ("AllowStreamLocalForwarding no", "AllowTcpForwarding no"):
        with near.node.told(setting):
            assert said(near.endpoint) == forbidden("socket")


def forbidden(listen: str) -> str:
    way = "a socket" if listen == "socket" else "a port"
    setting = checks.SETTINGS[listen]
    return f"warn: SSH forwards nothing to {way} there ({setting}); a session will carry the connections"


@pytest.mark.parametrize(
    ("listen", "setting", "works"),
    [
        ("socket", "AllowTcpForwarding local", True),
        ("socket", "AllowStreamLocalForwarding no", False),
        ("socket", "AllowTcpForwarding no", False),  # sshd makes no difference there, nor with PermitOpen
        ("socket", "PermitOpen none", False),
        ("tcp", "AllowStreamLocalForwarding no", True),
        ("tcp", "PermitOpen none", False),
        ("tcp", "AllowTcpForwarding no", False),
    ],
)
def test_before_that_the_way_is_tried_that_it_will_take(
    near: near_sshd.Near, absent: Endpoint, listen: str, setting: str, works: bool
) -> None:
    with near.node.told(setting):
        told = said(replace(absent, listen=listen, port=1))
    way = "a socket" if listen == "socket" else "a port"
    assert told == (f"ok: to {way} there; Jupyter is not there to be tried" if works else forbidden(listen))


def test_where_nothing_listens_in_that_way_nothing_is_claimed(
    absent: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(checks.LISTENERS, "socket", ":\n")
    assert said(absent) == "ok: not tried, as nothing listens on a socket there before Jupyter does"


def test_an_admin_s_login_has_a_session_in_any_case(near: near_sshd.Near, absent: Endpoint) -> None:
    connection = Connection(near.reach, ask=False)
    connection.open()
    found = checks.forwards(connection, replace(absent, ssh=replace(near.reach, become="max"), user="max"))
    assert (found["level"], found["says"][:30]) == ("ok", "a session carries the connecti")
