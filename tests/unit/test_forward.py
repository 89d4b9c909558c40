"""forward.py, probe.py and service.py through two real sshd processes to a server on a socket."""

from __future__ import annotations

import fcntl
import http.server
import socket
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import near_sshd
import pytest
from nbfleet import bridge, control, probe, service
from nbfleet import forward as forward_module
from nbfleet.errors import FailedError, ForwardError, UnreachableError
from nbfleet.forward import Forward, free_port, require_free
from nbfleet.ssh import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _runtime(near: near_sshd.Near, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", tempfile.mkdtemp(dir=near.folder))
    (near.folder / "state").write_text("active\n")
    (near.folder / "token").write_text(near_sshd.TOKEN)
    (near.folder / "orders").unlink(missing_ok=True)
    (near.folder / "broken").unlink(missing_ok=True)
    yield
    control.close_since(0)


@pytest.fixture
def forward(near: near_sshd.Near) -> Iterator[Forward]:
    made = Forward(near.endpoint, free_port(None), connection=Connection(near.reach, ask=False))
    yield made
    made.close()


def wait_for(what: str, true: object, *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    assert callable(true)
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def test_the_forward_reaches_the_very_server(forward: Forward) -> None:
    forward.open()
    assert forward.token == near_sshd.TOKEN
    assert not forward.started
    assert probe.alive(forward.local_port, forward.endpoint)


def test_a_service_that_is_down_is_started_first(near: near_sshd.Near, forward: Forward) -> None:
    (near.folder / "state").write_text("inactive\n")
    forward.open()
    assert forward.started
    assert "start nbfleet-jupyter.service" in (near.folder / "orders").read_text()


def test_a_service_that_does_not_start_is_named(near: near_sshd.Near, forward: Forward) -> None:
    (near.folder / "state").write_text("failed\n")
    (near.folder / "broken").touch()
    with pytest.raises(FailedError, match="robert-node12: Jupyter does not start"):
        forward.open()


def test_an_empty_token_file_is_refused(near: near_sshd.Near, forward: Forward) -> None:
    (near.folder / "token").write_text("")
    with pytest.raises(FailedError, match=r"token file .* is missing or empty"):
        forward.open()


def test_a_server_that_does_not_know_the_token_is_another_one(near: near_sshd.Near, forward: Forward) -> None:
    (near.folder / "token").write_text("8" * 64)
    with pytest.raises(ForwardError, match="does not accept this account's token"):
        forward.open()
    assert not near_sshd.listening(forward.local_port)


def test_a_server_that_does_not_answer_is_waited_for_with_an_end(near: near_sshd.Near) -> None:
    endpoint = replace(near.endpoint, socket=str(near.folder / "nothing.sock"))
    with pytest.raises(ForwardError, match=r"waited 0 s for http://127.0.0.1:\d+/robert-node12/api: the server"):
        probe.wait_until_ready(free_port(None), endpoint, "x", seconds=0.2)


def test_closing_frees_the_port_and_leaves_the_master(forward: Forward) -> None:
    forward.open()
    forward.close()
    assert not near_sshd.listening(forward.local_port)
    assert forward.connection.alive()


REFUSALS = ["AllowStreamLocalForwarding no", "DisableForwarding yes", "PermitTTY no"]


@pytest.mark.parametrize("settings", [[word] for word in REFUSALS] + [["DisableForwarding yes", "MaxSessions 1"]])
def test_a_server_that_forbids_is_reached_all_the_same(
    near: near_sshd.Near, forward: Forward, settings: list[str]
) -> None:
    with near.node.told(*settings):
        forward.open()
        assert forward.bridge == ("forward" if settings == ["PermitTTY no"] else "session")
        with ThreadPoolExecutor(30) as pool:  # more connections than an sshd allows sessions
            answers = pool.map(lambda _: probe.alive(forward.local_port, near.endpoint), range(60))
            assert all(answers)
        assert service.status(forward.connection, near.endpoint).answers
        forward.watch()
        assert forward.alive()
        forward.close()
        assert not near_sshd.listening(forward.local_port)


def test_tcp_is_carried_where_it_may_not_be_forwarded(near: near_sshd.Near) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), near_sshd.Notebook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = replace(near.endpoint, listen="tcp", socket=None, port=server.server_address[1])
        with near.node.told("AllowTcpForwarding no"):
            forward = Forward(endpoint, free_port(None), connection=Connection(near.reach, ask=False))
            forward.open()
            assert (forward.bridge, probe.alive(forward.local_port, endpoint)) == ("session", True)
            forward.close()
        server.shutdown()


def test_a_bridge_that_another_command_opened_is_used_and_can_be_ended(near: near_sshd.Near, forward: Forward) -> None:
    with near.node.told("DisableForwarding yes"):
        forward.open()
        forward.leave()
        second = Forward(near.endpoint, forward.local_port, connection=Connection(near.reach, ask=False))
        second.open()
        assert second.bridge == "session"
        second.watch()
        assert second.alive()
        second.close()
        assert not near_sshd.listening(forward.local_port)


def test_a_bridge_that_does_not_end_is_named(
    near: near_sshd.Near, forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    with near.node.told("DisableForwarding yes"):
        forward.open()
        (record,) = forward.connection.folder.glob("bridge-*")
        forward.close()
    gone = subprocess.Popen(["true"])
    gone.wait(20)
    monkeypatch.setattr(bridge, "END_SECONDS", 0.2)
    with record.open("w") as held:  # by a process that no signal to the noted one ends
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write(str(gone.pid))
        held.flush()
        with pytest.raises(ForwardError, match=rf"{forward.local_port}, process {gone.pid}, does not end"):
            forward_module.close_port(forward.connection, near.endpoint, forward.local_port)
    forward.close()
    assert not record.exists()


def test_a_bridge_comes_back_on_the_same_port_after_its_machine_was_away(near: near_sshd.Near) -> None:
    forward = Forward(near.endpoint, free_port(None), connection=Connection(near.reach, ask=False))
    with near.node.told("DisableForwarding yes"):
        forward.open()
        stop, said = threading.Event(), list[str]()
        keeper = threading.Thread(target=forward.keep, args=(stop, said.append))
        keeper.start()
        near.node.stop()
        wait_for("the loss to be seen", lambda: said)
        near.node.start()
        wait_for("the way back", lambda: any("back after" in line for line in said), seconds=40)
        assert (forward.bridge, probe.alive(forward.local_port, near.endpoint)) == ("session", True)
        stop.set()
        keeper.join(20)
        forward.close()
        assert not near_sshd.listening(forward.local_port)


def test_what_is_large_or_slow_arrives_whole_and_holds_up_nothing_else(near: near_sshd.Near, forward: Forward) -> None:
    with near.node.told("DisableForwarding yes"):
        forward.open()
        with socket.create_connection(("127.0.0.1", forward.local_port), 20) as slow:
            slow.sendall(f"GET {near_sshd.LARGE} HTTP/1.0\r\n\r\n".encode())
            assert probe.alive(forward.local_port, near.endpoint)  # while nobody reads the large one
            with slow.makefile("rb") as answer:
                body = answer.read().partition(b"\r\n\r\n")[2]
        assert body == near_sshd.BODY


def test_a_command_in_place_of_the_login_on_the_bastion_does_no_harm(near: near_sshd.Near, forward: Forward) -> None:
    with near.bastion.told("ForceCommand echo nothing here", "PermitTTY no"):
        forward.open()
        assert probe.alive(forward.local_port, near.endpoint)


@pytest.mark.parametrize(
    ("setting", "words"),
    [("ForceCommand internal-sftp", "internal-sftp"), ("ForceCommand echo welcome", "ForceCommand")],
)
def test_an_account_that_may_run_nothing_is_one_sentence(
    near: near_sshd.Near, forward: Forward, setting: str, words: str
) -> None:
    with near.node.told(setting), pytest.raises(UnreachableError, match=words) as caught:
        forward.open()
    assert near.reach.title in str(caught.value)


@pytest.fixture
def kept(forward: Forward) -> Iterator[list[str]]:
    """What is said while the forward is open and kept."""
    forward.open()
    stop = threading.Event()
    said: list[str] = []
    keeper = threading.Thread(target=forward.keep, args=(stop, said.append))
    keeper.start()
    wait_for("the far side to be watched", forward.alive)
    yield said
    stop.set()
    keeper.join(20)


def test_a_lost_connection_comes_back_on_the_same_port(near: near_sshd.Near, forward: Forward, kept: list[str]) -> None:
    near.node.stop()
    wait_for("the loss to be seen", lambda: kept)
    wait_for("the reason", lambda: any("refuses the connection" in line for line in kept))
    near.node.start()
    wait_for("the way back", lambda: any("back after" in line for line in kept))
    assert probe.alive(forward.local_port, near.endpoint)
    assert "the connection is lost" in kept[0]


def test_a_forward_that_comes_back_leaves_the_master_to_those_who_use_it(
    near: near_sshd.Near, forward: Forward, kept: list[str]
) -> None:
    other = forward.connection.stream(["sh", "-c", "read word; echo still $word"])

    def end_the_echo() -> bool:
        near.node.end("cat")
        return bool(kept)

    wait_for("the far echo to be there, to end and to be missed", end_the_echo)
    wait_for("the way back", lambda: any("back after" in line for line in kept))
    assert probe.alive(forward.local_port, forward.endpoint)
    out, _ = other.communicate("here\n", timeout=10)
    assert out == "still here\n"


def test_a_silent_connection_is_given_up_and_comes_back_on_the_same_port(
    near: near_sshd.Near, forward: Forward, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward_module, "PING", 2.0)
    monkeypatch.setattr(forward_module, "SILENCE", 3.0)
    monkeypatch.setattr(forward_module, "ECHO", 1.0)
    with near.node.silent():
        wait_for("the loss to be seen", lambda: kept)
        wait_for("the port to be free", lambda: not near_sshd.listening(forward.local_port))
        assert not any("back after" in line for line in kept)
    wait_for("the way back", lambda: any("back after" in line for line in kept), seconds=60)
    assert probe.alive(forward.local_port, near.endpoint)


def test_the_last_port_is_taken_if_free_and_named_if_not() -> None:
    port = near_sshd.free_port()
    assert free_port(port) == port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert free_port(port) != port
        with pytest.raises(ForwardError, match=f"port {port} is taken"):
            require_free(port)


def test_the_token_is_in_no_repr(near: near_sshd.Near, forward: Forward) -> None:
    forward.open()
    running = service.ensure_running(forward.connection, near.endpoint)
    assert near_sshd.TOKEN not in repr(forward) + repr(running) + repr(vars(forward)["endpoint"])


def test_a_status_is_one_question(near: near_sshd.Near) -> None:
    connection = Connection(near.reach, ask=False)
    connection.open()
    status = service.status(connection, near.endpoint)
    assert (status.state, status.memory, status.since) == ("active", 73400320, "Mon 2030-01-07 10:00:00 UTC")
    assert service.journal(connection, near.endpoint, lines=5) == (None, ["a line of the journal"])


def test_a_session_names_the_program_that_it_is_in(near: near_sshd.Near) -> None:
    unit = near.folder / "session"
    unit.write_text("printf 'state=active\\nserver=0\\nby=screen\\n'\n")
    (near.folder / "jupyter.log").write_text("nbfleet:by=a line of the log\n")
    endpoint = replace(near.endpoint, keeper="session", unit=str(unit))
    connection = Connection(near.reach, ask=False)
    connection.open()
    assert service.status(connection, endpoint).by == "screen"
    assert service.ensure_running(connection, endpoint).by == "screen"
    assert service.journal(connection, endpoint, lines=5) == ("screen", ["nbfleet:by=a line of the log"])


def test_noise_of_a_shell_s_start_up_files_is_not_taken_for_an_answer() -> None:
    assert service.answers("Welcome!\nstate=lies\nnbfleet:state=active\nnbfleet:words=a=b\n") == {
        "state": "active",
        "words": "a=b",
    }
