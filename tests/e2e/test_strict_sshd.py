"""SSH servers that forbid things, on the node and on the bastion: each serves all the same or is refused by name."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.faults.notebook import Notebook
from tests.faults.scene import Account, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machines import Lab

pytestmark = pytest.mark.sampled("worlds")
NAME = "finn-node12"
USERS = {"node12": "finn", "bastion": "bianca"}
# A restart waits until it listens again; what is connected stays. systemd allows five of them in ten seconds.
RESTART = "sshd -t && systemctl reset-failed ssh && systemctl restart ssh"
FILE = "/etc/ssh/sshd_config.d/strict.conf"
SET = f"printf '%s\\n' \"$@\" >{FILE} && {RESTART}"
CARRIED = "SSH forwards nothing to Jupyter there; a session carries the connections."


@contextlib.contextmanager
def strict(lab: Lab, machine: str, *settings: str) -> Iterator[Account]:
    """Have a machine's sshd forbid one user things, as long as the block lasts; yields the account, not connected yet.

    sshd asks its settings at each login: a connection from before would have what it had.
    """
    made = lab.root(machine, SET, f"Match User {USERS[machine]}", *settings)
    try:
        assert made.code == 0, made.err
        with lab.apart() as apart:
            yield Account(apart, NAME)
    finally:
        assert lab.root(machine, f"rm {FILE}; {RESTART}").code == 0


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Iterator[Lab]:
    """The lab with a new account, which is taken back at the end."""
    lab.bare("node12", "finn")
    assert lab.root("node12", "runuser -l finn -c true").code == 0  # fish makes its folders when it first runs
    yield lab
    lab.bare("node12", "finn")


@pytest.mark.parametrize(
    ("machine", "setting", "code", "says"),
    [
        ("node12", "ForceCommand internal-sftp", 5, ["runs no command (internal-sftp", "no ForceCommand"]),
        ("node12", "ForceCommand echo welcome", 5, [": the account did not answer", ": welcome)", "no ForceCommand"]),
        ("bastion", "AllowTcpForwarding no", 4, ["is not let through by bianca@", "about AllowTcpForwarding"]),
    ],
)
def test_what_cannot_work_is_refused_with_hop_and_option_and_nothing_is_changed(
    bare: Lab, machine: str, setting: str, code: int, says: list[str]
) -> None:
    before = Account(bare, NAME).home()
    with strict(bare, machine, setting) as account:
        told(account.up(), NAME, *says, code=code)
        plain = account.site()
    assert plain.code != 0, plain.out
    assert "changed=0" in plain.out
    assert Account(bare, NAME).home() == before


@pytest.fixture(scope="module")
def made(bare: Lab) -> Lab:
    """The lab with the account provisioned by plain Ansible, where its sshd forbids all that may be forbidden."""
    with strict(bare, "node12", "MaxSessions 1", "PermitTTY no", "DisableForwarding yes") as account:
        done = account.site()
    assert done.code == 0, done.out[-4000:]
    return bare


@pytest.mark.sampled("strict sshd")
@pytest.mark.parametrize(
    ("machine", "settings", "listen", "bridge"),
    [
        ("node12", ["AllowStreamLocalForwarding no"], "socket", "session"),
        ("node12", ["AllowTcpForwarding no"], "socket", "session"),  # it bars paths, too
        ("node12", ["PermitTTY no"], "socket", "forward"),
        ("node12", ["MaxSessions 1"], "socket", "forward"),
        ("node12", ["MaxSessions 1", "PermitTTY no", "DisableForwarding yes"], "socket", "session"),
        ("bastion", ["ForceCommand echo nothing here", "MaxSessions 1"], "socket", "forward"),
        ("node12", ["AllowTcpForwarding no"], "tcp", "session"),
        ("node12", ["AllowStreamLocalForwarding no"], "tcp", "forward"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_kernel_is_reached_and_a_run_through_all_roles_works_beside_it(
    made: Lab, machine: str, settings: list[str], listen: str, bridge: str
) -> None:
    words = ["-e", f"jupyter_service_listen={listen}"]
    with strict(made, machine, *settings) as account:
        done = account.up(*words)
        assert done.code == 0, done.out + done.err
        opened = account.nbfleet("connect", "--background", "--no-browser")
        assert opened.code == 0, opened.out + opened.err
        assert opened.answer["data"]["bridge"] == bridge
        assert (CARRIED in opened.err) is (bridge == "session")
        notebook = Notebook(opened.answer["data"]["url"])
        assert notebook.run(notebook.start_kernel(), "print(6 * 7)") == "42"
        notebook.end_kernels()
        # The open forward has the only session that MaxSessions allows a connection.
        again = account.up(*words, "-e", "survey_trust=false")
        assert [one["changed"] for one in again.answer["data"]["accounts"]] == [0], again.out + again.err
        (found,) = account.nbfleet("status").answer["data"]["accounts"]
        assert (found["state"], found["answers"]) == ("active", True)
        assert found["url"].startswith(notebook.base)
        assert notebook.answers()
