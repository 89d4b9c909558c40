"""ssh.py and control.py against two real sshd processes."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import near_sshd
import pytest
from nbfleet import control, process
from nbfleet.endpoint import Reach
from nbfleet.errors import ForwardError, SetupError, UnreachableError
from nbfleet.explain import known_fingerprint, ssh_reason, task_reason
from nbfleet.ssh import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def runtime(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    runtime = Path(tempfile.mkdtemp(dir=short_folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    yield runtime
    control.close_since(0)


def test_a_script_runs_behind_the_bastion_and_every_hop_has_one_master(near: near_sshd.Near, runtime: Path) -> None:
    connection = Connection(near.reach, ask=False)
    connection.open()
    assert connection.run('echo "$((6 * 7))"').out == "42\n"
    assert len([path for path in (runtime / "nbfleet-ssh").iterdir() if path.is_socket()]) == 2
    assert [hop.port for hop in connection.hops()] == [near.bastion.port]


def test_a_second_command_rides_on_the_open_master(near: near_sshd.Near) -> None:
    Connection(near.reach, ask=False).open()
    logins = (near.folder / "node.log").read_text().count("Accepted")
    again = Connection(near.reach, ask=False)
    again.open()
    again.run("true")
    assert (near.folder / "node.log").read_text().count("Accepted") == logins


def test_a_script_whose_master_ends_under_it_is_run_over_a_new_one(near: near_sshd.Near) -> None:
    connection = Connection(near.reach, ask=False)
    connection.open()
    mark = near.folder / "was-here"
    script = f"if [ -e {mark} ]; then echo again; else touch {mark}; kill -KILL $PPID; sleep 20; fi\n"
    assert connection.run(script).out == "again\n"


def test_a_closed_master_is_gone_until_a_script_needs_one(near: near_sshd.Near) -> None:
    connection = Connection(near.reach, ask=False)
    connection.open()
    connection.close()
    assert not connection.alive()
    assert connection.run("echo here").out == "here\n"
    assert connection.alive()


def test_an_unknown_host_key_is_refused_and_the_hop_is_named(near: near_sshd.Near) -> None:
    with pytest.raises(UnreachableError, match="host key that is not known") as caught:
        Connection(near.unknown_keys(), ask=False).open()
    assert str(near.bastion.port) in str(caught.value)
    assert caught.value.data == {"reason": "host_key_unknown", "askable": True}


def test_a_changed_host_key_is_refused_with_both_fingerprints_and_the_line_to_remove(near: near_sshd.Near) -> None:
    known = near.folder / "known_hosts"
    kept = known.read_text()
    bastion, node = kept.splitlines()
    known.write_text(f"{bastion.split()[0]} {' '.join(node.split()[1:])}\n{node}\n")
    prints = {name: _fingerprint(near.folder / f"{name}.host.pub") for name in ("bastion", "node")}
    try:
        with pytest.raises(UnreachableError, match="another host key") as caught:
            Connection(near.reach, ask=False).open()
    finally:
        known.write_text(kept)
    assert f"(known: {prints['node']}, sent: {prints['bastion']})" in str(caught.value)
    assert f"line 1 of {known}" in caught.value.hint
    assert caught.value.data is not None
    assert not caught.value.data["askable"]


def _fingerprint(file: Path) -> str:
    """Return what ssh-keygen says of the first key in a file."""
    return process.run(["ssh-keygen", "-lf", str(file)]).out.split()[1]


@pytest.mark.parametrize("marker", ["", "@cert-authority ", "@revoked "])
def test_a_known_key_has_the_fingerprint_that_ssh_keygen_shows(tmp_path: Path, marker: str) -> None:
    key = tmp_path / "key"
    process.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(key)])
    kind, blob, *_ = key.with_suffix(".pub").read_text().split()
    known = tmp_path / "known_hosts"
    known.write_text(f"# ours\n{marker}|1|salt=|hash= {kind} {blob} a comment\ntwo words\nx ssh-rsa no+base64!\n")
    assert known_fingerprint(known, 2) == _fingerprint(key.with_suffix(".pub"))
    assert [known_fingerprint(known, number) for number in (1, 3, 4, 9)] == ["", "", "", ""]
    assert not known_fingerprint(tmp_path / "none", 1)


def test_a_refusing_bastion_and_a_refusing_node_are_told_apart(near: near_sshd.Near) -> None:
    nobody = near_sshd.free_port()
    jump = replace(near.reach, args=near.reach.args.replace(str(near.bastion.port), str(nobody)))
    with pytest.raises(UnreachableError, match=f":{nobody}, on the way to .*, refuses the connection"):
        Connection(jump, ask=False).open()
    with pytest.raises(UnreachableError, match=rf"^\S+:{nobody} refuses the connection"):
        Connection(replace(near.reach, port=nobody), ask=False).open()


def test_a_taken_local_port_is_named(near: near_sshd.Near) -> None:
    connection = Connection(near.reach, ask=False)
    connection.open()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ForwardError, match=f"local port {port}"):
            connection.forward(port, "/nowhere.sock")


def test_masters_of_an_interrupted_run_are_ended_and_older_ones_are_not(near: near_sshd.Near) -> None:
    connection = Connection(near.reach, ask=False)
    connection.open()
    control.close_since(time.time() + 5)
    assert connection.alive()
    control.close_since(time.time() - 60)
    assert not connection.alive()


def test_the_configuration_reaches_the_jump_host_and_weakens_nothing(runtime: Path) -> None:
    folder = control.control_folder()
    path = control.write_config(folder, user_config="/etc/own config", batch=True)
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder == runtime / "nbfleet-ssh"
    assert 'Include "/etc/own config"' in text
    assert "StrictHostKeyChecking" not in text
    assert "BatchMode yes" in text
    assert "BatchMode" not in control.write_config(folder, user_config=None, batch=False).read_text()


def test_a_control_folder_of_somebody_else_is_not_used(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (runtime / "elsewhere").mkdir()
    (runtime / "nbfleet-ssh").symlink_to(runtime / "elsewhere")
    with monkeypatch.context() as other:
        other.setattr(os, "getuid", lambda: 4242)
        with pytest.raises(SetupError, match="belongs to somebody else"):
            control.control_folder()
    Path("/tmp/nbfleet-4242").rmdir()  # noqa: S108 - made by the function under test


def test_control_paths_are_short_enough_for_ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    assert len(str(control.control_folder())) + control.HASHED <= control.LONGEST


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "host_key_changed"),
        ("No ED25519 host key is known for x and you have requested strict checking.", "host_key_unknown"),
        ("ssh: Could not resolve hostname x: Name or service not known", "name_unknown"),
        ("r@x: Permission denied (publickey,keyboard-interactive).", "permission_denied"),
        ("r@x: Permission denied (keyboard-interactive).", "answer_needed"),
        ("r@x: Permission denied (password,keyboard-interactive).", "answer_needed"),
        ("ssh: connect to host x port 22: Connection refused", "refused"),
        ("ssh: connect to host x port 22: Connection timed out", "timeout"),
        ("Connection timed out during banner exchange", "timeout"),
        ("channel 0: open failed: administratively prohibited: open failed", "forward_refused"),
        ("kex_exchange_identification: Connection closed by remote host", "hung_up"),
        ("something never seen before", "unreachable"),
    ],
)
def test_each_of_ssh_s_refusals_has_its_own_next_step(words: str, code: str) -> None:
    reason = ssh_reason(words, where="robert@x")
    assert reason.code == code
    assert reason.hint


def test_the_words_for_ssh_leave_the_inventory_s_arguments_whole() -> None:
    reach = Reach("h", "robert", 2222, "/k", '-F "/a b/config" -o ProxyJump=bianca@b:22522')
    assert reach.config == "/a b/config"
    assert reach.options == ["-o", "ProxyJump=bianca@b:22522", "-i", "/k", "-p", "2222", "-l", "robert"]


@pytest.mark.parametrize("setting", ["MaxSessions 1", "PermitTTY no", "DisableForwarding yes"])
def test_ansible_and_the_driver_work_at_once_where_sshd_is_strict(
    near: near_sshd.Near, tmp_path: Path, setting: str
) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        f"all: {{hosts: {{node: {{ansible_host: 127.0.0.1, ansible_port: {near.node.port}, "
        f'ansible_user: {near.reach.user}, ansible_ssh_common_args: "{near.reach.args}"}}}}}}\n'
    )
    environment = control.ansible_environment(control.control_folder(), user_config=None)
    with near.node.told(setting):
        connection = Connection(near.reach, ask=False)
        connection.open()
        pulse = connection.stream(["cat"])  # what an open forward keeps
        assert pulse.stdin
        assert pulse.stdout
        pulse.stdin.write("there\n")
        assert pulse.stdout.readline() == "there\n"
        assert connection.run("echo $((6*7))").out == "42\n"
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible", "-i", inventory, "node", "-m", "raw", "-a", "echo $((6*7))"],
            env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        follower = connection.stream(["echo", "followed"])
        assert follower.communicate(timeout=20)[0] == "followed\n"
        assert pulse.poll() is None
        process.end(pulse)
    assert "\n42\n" in done.stdout, done.stdout + done.stderr


def test_an_account_of_files_alone_is_told_by_ansible_s_words_too() -> None:
    said = "(it said: This service allows sftp connections only. Shared connection to h closed.)"
    result = {"msg": f"the login shell ended with status 1 and ran nothing {said}; look at its start-up files."}
    reason = task_reason({"task": "survey: Ask the account how it stands", "res": result})
    assert reason.code == "no_shell"
    assert "internal-sftp" in reason.says
