"""What others find or can do: another user of the machine, one who looks at processes and files, a foreign page."""

from __future__ import annotations

import http.cookiejar
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from looker import SHARED_FOLDERS, Looker

from tests.machines import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.machines import Lab, Run

ACCOUNT = "robert-node12"
STRANGER = "zoe-node12"  # another user of the same machine
STOP = (
    "busctl --user call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager"
    " StopUnit ss nbfleet-jupyter.service replace"
)
STATE = "ls /var/lib/systemd/linger; systemctl --user --machine=robert@.host show -p MainPID nbfleet-jupyter.service"
WATCHED = "finn-node12"  # from its first provision to its removal


@pytest.fixture
def looker(lab: Lab) -> Iterator[Looker]:
    looker = Looker(lab, "node12", "finn")
    looker.start()
    yield looker
    looker.end()


@pytest.fixture(scope="module")
def eve(lab: Lab) -> Iterator[Callable[[str], Run]]:
    """Another user of the bastion, who runs scripts."""
    made = lab.root("bastion", "useradd --create-home eve")
    assert made.code == 0, made.err
    assert lab.root("bastion", "runuser -u eve -- true").code == 0
    yield lambda script: lab.root("bastion", 'cd /home/eve && runuser -u eve -- sh -c "$1"', script)
    lab.root("bastion", "userdel --remove eve")


def split(url: str) -> tuple[str, str]:
    """Return an address without its page, and its token."""
    page, _, token = url.partition("?token=")
    assert len(token) == 64
    return page.removesuffix("tree").removesuffix("lab"), token


def status(url: str, *, token: str = "", opener: urllib.request.OpenerDirector | None = None, **headers: str) -> int:
    """Return the status of one answer."""
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})  # noqa: S310
    if token:
        request.add_header("Authorization", f"token {token}")
    try:
        with (opener or urllib.request.build_opener()).open(request, timeout=30) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_from_the_first_provision_to_removal_the_token_is_nowhere_but_in_its_file(lab: Lab, looker: Looker) -> None:
    lab.bare("node12", "finn")
    inventory = str(lab.inventory)
    loud = ("-vvv", "--diff")
    runs = [lab.nbfleet("up", "-i", inventory, WATCHED, *loud)]
    first, looker.files = looker.files, {}
    opened = lab.nbfleet("connect", WATCHED, "--background", "--no-browser", "--json")
    assert opened.code == 0, opened.out
    _, token = split(str(opened.answer["data"]["url"]))
    runs += [
        lab.playbook("site", "--limit", WATCHED, *loud, "-e", "survey_trust=false"),
        lab.nbfleet("restart", WATCHED),
        lab.nbfleet("status", WATCHED),
        lab.nbfleet("logs", WATCHED),
        lab.nbfleet("upgrade", "-i", inventory, WATCHED, *loud),
        # A task that fails prints what it was given.
        lab.nbfleet("up", "-i", inventory, WATCHED, "-vvv", "-e", "jupyter_service_base_url=wrong"),
    ]
    seen, looker.arguments = looker.arguments, set()
    places = "/home /root /run /tmp /var/log /var/tmp /dev/shm"
    kept = lab.root("node12", "stat -c %a /home/finn/.config/nbfleet/token").out.strip()
    found = {name: holding(lab, name, token, places) for name in ("node12", "bastion")}
    looker.arguments = set()  # these searches had it there
    runs.append(lab.nbfleet("remove", "-i", inventory, WATCHED, "--yes", *loud))
    looker.end()
    assert [run.code for run in runs] == [0, 0, 0, 0, 0, 0, 5, 0], [run.err[-500:] for run in runs]
    assert "Keep the token" in runs[1].out
    assert "Jupyter Server" in runs[4].out
    assert not [words for words in seen | looker.arguments | looker.environments if token.encode() in words]
    assert not [run for run in runs if token in run.out + run.err]
    assert found == {"node12": ["/home/finn/.config/nbfleet/token"], "bastion": []}
    assert kept == "600"
    assert holding(lab, "node12", token, places) == []
    # On this computer: what is remembered of accounts and forwards, shells' histories, temporary files.
    own = [
        str(lab.directory),
        *(f"/{folder}" for folder in SHARED_FOLDERS),
        *(str(path) for path in Path.home().glob(".*_history")),
    ]
    assert lab.run("grep", "-rlF", "--devices=skip", token, *own).out == ""
    # What lay where everybody may write was for the account alone, and had another name each time.
    assert not [path for path, mode in {**first, **looker.files}.items() if mode & 0o077]
    assert not set(first) & set(looker.files)


def holding(lab: Lab, machine: str, token: str, places: str) -> list[str]:
    """Return the files of a machine that hold the token, and its journal if that does."""
    files = lab.root(machine, f"grep -rlF --devices=skip --exclude-dir=miniconda3 {token} {places} 2>/dev/null || :")
    journal = ["the journal"] if token in lab.root(machine, "journalctl --no-pager").out else []
    return files.out.split() + journal


@pytest.mark.parametrize(
    "attempt",
    [
        "cat /home/robert/.config/nbfleet/token",
        "ls /home/robert/.config/nbfleet",
        "ls /run/user/1000/nbfleet",
        "cat /run/user/1000/nbfleet/*",
        "ls /home/robert/.local/state/nbfleet",
        "ln -s /home/zoe/mine /run/user/1000/nbfleet/jupyter.sock",
        "mkdir -p /run/user/1000/nbfleet/x",
        "for server in $(pgrep -u robert); do cat /proc/$server/environ && exit 0; done; exit 1",
        "curl -s --unix-socket /run/user/1000/nbfleet/jupyter.sock http://localhost/api",
        # By busctl: systemctl asks the account's own manager when it gets nowhere with the bus it was told.
        f"DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus {STOP}",
        "SYSTEMD_BUS_TIMEOUT=5 loginctl disable-linger robert",  # nobody answers polkit's question here
        "machinectl shell robert@.host /bin/true",
        "su robert -c true </dev/null",
        "crontab -u robert -l",
        "echo mine >>/home/robert/.bashrc",
        "echo mine >/home/robert/miniconda3/envs/jupyter/bin/mine",
        "for server in $(pgrep -u robert); do head -c 1 /proc/$server/mem && exit 0; done; exit 1",
        "for server in $(pgrep -u robert); do kill -TERM $server && exit 0; done; exit 1",
    ],
)
def test_another_user_of_the_machine_gets_nowhere(provisioned: Lab, attempt: str) -> None:
    assert provisioned.on(STRANGER, "true").code == 0
    before = provisioned.root("node12", STATE).out
    assert "MainPID=" in before
    assert provisioned.on(STRANGER, f"sh -c '{attempt}'").code != 0
    assert provisioned.root("node12", STATE).out == before


@pytest.mark.parametrize(
    "attempt",
    [
        "ssh -o BatchMode=yes -o StrictHostKeyChecking=no robert@{node} true",
        "for there in $(pgrep -u bianca); do cat /proc/$there/environ && exit 0; done; exit 1",
        "for there in $(pgrep -u bianca); do head -c 1 /proc/$there/mem && exit 0; done; exit 1",
        "for there in $(pgrep -u bianca); do kill -TERM $there && exit 0; done; exit 1",
        "ls /home/bianca/.ssh",
        "ls -d /tmp/ssh-*",  # no agent of hers comes along
        "ls /tmp/nbfleet-*",
        'python3 -c "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)"',
        "curl -s --max-time 5 http://{node}:8888/api",
    ],
)
def test_another_user_of_the_bastion_gets_nowhere(
    provisioned: Lab, connect: Callable[[str], dict[str, Any]], eve: Callable[[str], Run], attempt: str
) -> None:
    connect(ACCOUNT)
    assert provisioned.root("bastion", "pgrep -u bianca").code == 0
    assert eve(attempt.replace("{node}", provisioned.address("node12"))).code != 0


def test_nothing_listens_on_the_bastion_for_a_forward(
    provisioned: Lab, connect: Callable[[str], dict[str, Any]]
) -> None:
    connect(ACCOUNT)
    assert listening(provisioned, "bastion", "bianca") == []


def listening(lab: Lab, machine: str, user: str) -> list[list[str]]:
    """Return the rows of the tables of TCP sockets for those on which a user listens."""
    uid = lab.root(machine, f"id -u {user}").out.strip()
    # Column 8 of these tables is the owner; 0A is "listening".
    table = lab.root(machine, "cat /proc/net/tcp /proc/net/tcp6").out
    rows = [line.split() for line in table.splitlines() if ":" in line]
    assert rows
    return [row for row in rows if row[3] == "0A" and row[7] == uid]


def test_no_kernel_or_server_listens_where_other_users_reach_it(provisioned: Lab) -> None:
    assert listening(provisioned, "node12", "robert") == []


def test_a_foreign_page_is_refused(connect: Callable[[str], dict[str, Any]]) -> None:
    base, token = split(str(connect(ACCOUNT)["url"]))
    assert status(f"{base}api/contents?content=0", token=token) == 200
    # A name that an attacker lets point to 127.0.0.1, and a page of his that calls.
    assert status(f"{base}api/contents?content=0", token=token, Host="evil.example") == 403
    cookies = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    assert status(f"{base}tree?token={token}", opener=cookies) == 200
    assert status(f"{base}api/contents?content=0", opener=cookies, Origin="https://evil.example") in (403, 404)


def test_a_new_token_ends_the_old_one_and_its_cookies(
    provisioned: Lab, connect: Callable[[str], dict[str, Any]]
) -> None:
    base, old = split(str(connect(ACCOUNT)["url"]))
    cookies = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    assert status(f"{base}tree?token={old}", opener=cookies) == 200
    assert status(f"{base}api/contents?content=0", opener=cookies) == 200
    renewed = provisioned.nbfleet("restart", "--new-token", "-i", str(provisioned.inventory), ACCOUNT)
    assert renewed.code == 0, renewed.err
    _, new = split(str(connect(ACCOUNT)["url"]))
    assert new != old
    assert status(f"{base}api/contents?content=0", token=new) == 200
    assert status(f"{base}api/contents?content=0", token=old) == 403
    assert status(f"{base}api/contents?content=0", opener=cookies) == 403


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
