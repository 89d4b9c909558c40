"""What others can do: another user of the machine, another user of the bastion, a program in the way."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from accounts import only_for, opened_home

from tests.faults.notebook import Notebook
from tests.machines import ROOT, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.machines import Lab, Run

ACCOUNT = "robert-node12"
MACHINE, USER, STRANGER = "node12", "robert", "zoe"
RUN = "/run/user/$(id -u robert)/nbfleet"
# In brackets, so that pgrep does not find the shell that calls it.
SERVER = 'server=$(pgrep -u robert -of "[j]upyter-notebook --config") && '
HERS = "for there in $(pgrep -u bianca); do {} && exit; done; exit 1"
# The order does nothing to a server that runs; who may give it may stop it as well. By busctl, because systemctl asks
# the account's own manager when it gets nowhere with the bus it was told.
ORDER = (
    "busctl --user call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager"
    " StartUnit ss nbfleet-jupyter.service replace"
)
STATE = "ls /var/lib/systemd/linger; systemctl --user --machine=robert@.host show -p MainPID nbfleet-jupyter.service"


@pytest.fixture(scope="module")
def eve(lab: Lab) -> Iterator[str]:
    """Another user of the bastion."""
    made = lab.root("bastion", "useradd --create-home eve")
    assert made.code == 0, made.err
    yield "eve"
    lab.root("bastion", "userdel --remove eve")


@pytest.fixture(scope="module")
def kernel(connect: Callable[[str], dict[str, Any]], provisioned: Lab) -> Iterator[str]:
    """The path of a socket of a kernel that runs, while the account's home is open to all."""
    notebook = Notebook(str(connect(ACCOUNT)["url"]))
    started = notebook.start_kernel()
    assert notebook.run(started, "print(42)") == "42"
    with opened_home(provisioned, MACHINE, USER):
        yield provisioned.as_user(MACHINE, USER, f"ls -d {RUN}/*{started}*-ipc-* | head -n 1").out.strip()
    notebook.end_kernels()


@pytest.mark.parametrize(
    ("owner", "attempt"),
    [
        (USER, "cat /home/robert/.config/nbfleet/token"),
        (USER, "cat /home/robert/.local/state/nbfleet/receipt"),
        (USER, "ls /home/robert/.config/nbfleet"),
        (USER, f"ls {RUN}"),
        (USER, f"cat {RUN}/kernel-*.json"),
        (USER, f"ln -s /tmp {RUN}/mine && rm {RUN}/mine"),
        (USER, f"mkdir {RUN}/mine && rmdir {RUN}/mine"),
        (USER, f"curl -sf --unix-socket {RUN}/jupyter.sock http://localhost/robert-node12/api"),
        (USER, "python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"KERNEL\")'"),
        (USER, f"DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u robert)/bus {ORDER}"),
        # It lingers already, so root's order changes nothing; nobody answers polkit's question here.
        ("root", "SYSTEMD_BUS_TIMEOUT=5 loginctl enable-linger robert"),
        ("root", "su robert -c true </dev/null"),
        (USER, ": >>/home/robert/.bashrc"),
        (USER, ": >>/home/robert/.config/systemd/user/nbfleet-jupyter.service"),
        (USER, ": >>/home/robert/miniconda3/bin/conda"),
        (USER, ": >>/home/robert/miniconda3/envs/jupyter/bin/jupyter"),
        (USER, f"{SERVER} cat /proc/$server/environ"),
        (USER, f"{SERVER} : </proc/$server/mem"),
        (USER, f"{SERVER} kill -0 $server"),  # may a signal be sent
    ],
)
def test_another_user_of_the_machine_gets_nowhere(provisioned: Lab, kernel: str, owner: str, attempt: str) -> None:
    before = provisioned.root(MACHINE, STATE).out
    assert re.search("MainPID=[1-9]", before)
    assert kernel
    only_for(provisioned, MACHINE, owner, STRANGER, attempt.replace("KERNEL", kernel))
    assert provisioned.root(MACHINE, STATE).out == before


@pytest.mark.parametrize(
    "attempt",
    [
        HERS.format("cat /proc/$there/environ"),
        HERS.format("kill -0 $there"),
        "ls /home/bianca/.ssh",
    ],
)
def test_another_user_of_the_bastion_gets_nowhere(
    provisioned: Lab, connect: Callable[[str], dict[str, Any]], eve: str, attempt: str
) -> None:
    connect(ACCOUNT)
    only_for(provisioned, "bastion", "root", eve, attempt)


def test_another_user_of_the_bastion_finds_the_node_s_door_shut(provisioned: Lab, eve: str) -> None:
    options = "-o BatchMode=yes -o StrictHostKeyChecking=no"
    tried = provisioned.as_user("bastion", eve, f"ssh {options} robert@{provisioned.address(MACHINE)} true")
    assert tried.code == 255
    assert "Permission denied" in tried.err  # the node itself said so


def test_another_user_of_the_bastion_reads_nothing_along(provisioned: Lab, eve: str) -> None:
    script = "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)"
    tried = provisioned.as_user("bastion", eve, f"python3 -c '{script}'")
    assert "PermissionError" in tried.err
    # This computer's root, in the same network: there is something to be forbidden.
    assert inside(provisioned, "bastion", "python3", "-c", script).code == 0


def inside(lab: Lab, machine: str, *command: str) -> Run:
    """Run a command of this computer, as its root, in a machine's network: a machine's own root may not do all."""
    return lab.run("nsenter", "--target", lab.pid(machine), "--net", *command)


def test_a_forward_leaves_nothing_on_the_bastion(provisioned: Lab, connect: Callable[[str], dict[str, Any]]) -> None:
    connect(ACCOUNT)
    assert provisioned.root("bastion", "pgrep -u bianca").code == 0
    find = "find /tmp /var/tmp /run /dev/shm -user bianca ! -path '/run/user/*/systemd*' ! -path '/run/user/*/bus'"
    hers = f"{find} ! -type d"
    planted = provisioned.as_user("bastion", "bianca", f"touch /tmp/mine && {hers}; rm /tmp/mine")
    assert planted.out.split()[:1] == ["/tmp/mine"]  # noqa: S108 - it would be found
    found = provisioned.root("bastion", hers).out.split()
    assert [path for path in found if re.search("ssh|agent|nbfleet|token", path)] == []


def listening(lab: Lab, machine: str, user: str) -> list[str]:
    """Return where the processes of a user listen: TCP, UDP and unix sockets with a path or an abstract name."""
    uid = int(lab.root(machine, f"id -u {user}").out)
    found = []
    for line in inside(lab, machine, "ss", "-Hanp", "--tcp", "--udp", "--unix").out.splitlines():
        kind, state, _, _, place, *_ = line.split()
        owners = {Path("/proc", pid).stat().st_uid for pid in re.findall(r"pid=(\d+)", line)}
        if uid in owners and state in ("LISTEN", "UNCONN") and place != "*":
            found.append(f"{kind} {place}")
    return found


def reachable(places: list[str]) -> list[str]:
    """Return those of them that another user of the machine reaches, whatever the modes of folders are."""
    return [place for place in places if not re.match(r"u_\w+ /", place)]


def test_nothing_listens_on_the_bastion_for_a_forward(
    provisioned: Lab, connect: Callable[[str], dict[str, Any]]
) -> None:
    connect(ACCOUNT)
    assert reachable(listening(provisioned, "bastion", "root"))
    assert reachable(listening(provisioned, "bastion", "bianca")) == []


OPEN = """
import socket, time
kept = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
kept[1].bind(("127.0.0.1", 0))
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    kept.append(socket.socket(socket.AF_UNIX, kind))
    kept[-1].bind(f"\\0nbfleet-test-{kind}")
kept[2].listen()
time.sleep(60)
"""


def test_no_kernel_or_server_listens_where_other_users_reach_it(provisioned: Lab, kernel: str) -> None:
    places = listening(provisioned, MACHINE, USER)
    assert [place for place in places if place.endswith("/nbfleet/jupyter.sock")]
    assert [place for place in places if place.endswith(kernel)]
    # ipykernel takes what a kernel's children print at a port, only with a word that no other user knows.
    known = [place for place in reachable(places) if re.fullmatch(r"tcp 127\.0\.0\.1:\d+", place)]
    assert reachable(places) == known
    kernels = provisioned.as_user(MACHINE, USER, f"ls {RUN}/kernel-*.json").out.split()
    assert len(known) <= len(kernels)
    # What it would look like if one did.
    pid = provisioned.as_user(MACHINE, USER, f"python3 -c '{OPEN}' </dev/null >/dev/null 2>&1 & echo $!").out.strip()
    try:
        wait_for(
            "four sockets", lambda: len(reachable(listening(provisioned, MACHINE, USER))) == 4 + len(known), seconds=20
        )
    finally:
        provisioned.root(MACHINE, f"kill {pid}")


def test_a_planted_program_earlier_in_path_is_not_run(provisioned: Lab) -> None:
    mark = "touch /tmp/planted-$(id -un)"
    plant = (
        f'mkdir -p bin && for name in conda python python3 jupyter; do printf "#!/bin/sh\\n{mark}\\n" >bin/$name; done'
    )
    put = provisioned.on(
        ACCOUNT,
        f"sh -c '{plant}; chmod +x bin/*; cp -p .bashrc .bashrc.kept; "
        'printf "PATH=\\$HOME/bin:\\$PATH\\n" | cat - .bashrc.kept >.bashrc\'',
    )
    try:
        assert put.code == 0, put.out
        done = provisioned.nbfleet("up", "-i", str(provisioned.inventory), ACCOUNT, "-e", "survey_trust=false")
        assert done.code == 0, done.err
    finally:
        provisioned.on(ACCOUNT, "sh -c 'mv .bashrc.kept .bashrc; rm -r bin'")
    assert provisioned.root("node12", "ls /tmp/planted-robert").code != 0


def test_nothing_of_a_run_is_left_open_to_others_on_this_computer() -> None:
    for folder in Path("/tmp").glob("nbfleet-*"):  # noqa: S108
        if folder.owner() == Path(ROOT).owner():
            assert folder.stat().st_mode & 0o077 == 0, folder
