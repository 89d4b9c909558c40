"""older_ssh.py with clients that refuse what they do not know, against two and three real sshd processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import near_sshd
import pytest
from nbfleet import client, control
from nbfleet.errors import UnreachableError
from nbfleet.older_ssh import Call
from nbfleet.ssh import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD_SSH = Path(__file__).with_name("old_ssh.sh")


@pytest.fixture(params=["5.3", "6.6"])
def old(request: pytest.FixtureRequest, near: near_sshd.Near, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The version of an old client, which is the only `ssh` of the test."""
    folder = Path(tempfile.mkdtemp(dir=near.folder))
    (folder / "ssh").symlink_to(OLD_SSH)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("OLD_SSH", request.param)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    client.version.cache_clear()
    yield request.param
    control.close_since(0)
    client.version.cache_clear()


def two_hops(near: near_sshd.Near) -> str:
    """Return the arguments for a way that passes the bastion twice."""
    hop = near.reach.args.rpartition("=")[2]
    return f"{near.reach.args},{hop}"


@pytest.mark.parametrize(
    ("option", "since"),
    [
        ("-J b", "7.3"),
        ("-oProxyJump=b", "7.3"),
        ("-o ProxyJump=b", "7.3"),
        ("-W a:1", "5.4"),
        ("-G", "6.8"),
        ("-o ControlPath=/tmp/%C", "6.7"),
        ("-o ControlPersist=5", "5.6"),
    ],
)
def test_the_old_client_is_one(old: str, option: str, since: str) -> None:
    words = ["ssh", *option.split(), "-o", "ConnectTimeout=1", "-p", "1", "127.0.0.1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    refused = any(word in done.stderr for word in ("illegal option", "Bad configuration", "unknown key"))
    assert refused == (float(old) < float(since)), done.stderr


def test_a_script_runs_over_every_hop_and_each_has_one_short_private_master(old: str, near: near_sshd.Near) -> None:
    for args in (near.reach.args, two_hops(near)):
        connection = Connection(replace(near.reach, args=args), ask=False)
        connection.open()
        assert connection.run('echo "$((6 * 7))"').out == "42\n"
        assert connection.alive()
    sockets = [path for path in control.control_folder().iterdir() if path.is_socket()]
    assert len(sockets) == 4, old  # two ways of one and two hops; the second hop has a way of its own
    assert max(len(str(path)) for path in sockets) <= control.LONGEST


def test_ansible_rides_on_the_driver_s_master(old: str, near: near_sshd.Near, tmp_path: Path) -> None:
    Connection(near.reach, ask=False).open()
    logins = (near.folder / "node.log").read_text().count("Accepted")
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        f"all: {{hosts: {{node: {{ansible_host: 127.0.0.1, ansible_port: {near.node.port}, "
        f'ansible_user: {near.reach.user}, ansible_ssh_common_args: "{near.reach.args}"}}}}}}\n'
    )
    environment = control.ansible_environment(control.control_folder(), user_config=None)
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible", "-i", inventory, "node", "-m", "raw", "-a", "echo $((6*7))"],
        env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "\n42\n" in done.stdout, done.stdout + done.stderr
    assert (near.folder / "node.log").read_text().count("Accepted") == logins, old


def test_the_host_key_is_checked_under_the_node_s_own_name(old: str, near: near_sshd.Near) -> None:
    known = near.folder / "known_hosts"
    kept = known.read_text()
    bastion, node = kept.splitlines()
    known.write_text(f"{bastion}\n{node.split()[0]} {' '.join(bastion.split()[1:])}\n")
    try:
        with pytest.raises(UnreachableError, match="another host key") as caught:
            Connection(near.reach, ask=False).open()
    finally:
        known.write_text(kept)
    assert f"line 2 of {known}" in caught.value.hint, old


def test_a_refusing_bastion_is_named(old: str, near: near_sshd.Near) -> None:
    nobody = near_sshd.free_port()
    jump = replace(near.reach, args=near.reach.args.replace(str(near.bastion.port), str(nobody)))
    with pytest.raises(UnreachableError, match=f":{nobody}, on the way to .*, refuses the connection"):
        Connection(jump, ask=False).open()
    with pytest.raises(UnreachableError, match=rf"^\S+:{nobody} "):
        Connection(replace(near.reach, port=nobody), ask=False).open()
    assert old


def test_ways_that_differ_have_different_control_paths(old: str, near: near_sshd.Near) -> None:
    def path(*words: str) -> str:
        return Call([*words, "-o", "ControlPath=/x/%C", "host"]).control_path

    ways = [[], ["-p", "2"], ["-l", "r"], ["-J", "b"], ["-F", str(near.folder / "ssh_config")]]
    assert len({path(*words) for words in ways}) == len(ways), old
    assert path("-p", "2", "-l", "r", "-J", "b") == path("-o", "Port=2", "-o", 'User="r"', "-o", "ProxyJump=b")
    ours = control.write_config(control.control_folder(), user_config=str(near.folder / "ssh_config"), batch=True)
    assert path("-F", str(ours)) == path("-F", str(near.folder / "ssh_config"))


def test_a_client_of_today_is_called_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client, "version", lambda: client.JUMP)
    assert control.ssh_program(tmp_path) == "ssh"
