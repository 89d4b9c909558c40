"""What others find or can do: another user of the machine, one who looks at processes and files, a foreign page."""

from __future__ import annotations

import http.cookiejar
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.machines import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.machines import Lab

ACCOUNT = "robert-node12"
STRANGER = "zoe-node12"  # another user of the same machine


class Looker(threading.Thread):
    """Collects the arguments and environments of all processes of this computer: the lab's machines run on it, too."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self.rounds = 0
        self.enough = threading.Event()

    def run(self) -> None:
        """Look again and again; processes come and go meanwhile."""
        while not self.enough.wait(0.02):
            self.rounds += 1
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        self.seen.add((process / name).read_bytes())
                    except OSError:
                        continue


@pytest.fixture
def looker() -> Iterator[Looker]:
    looker = Looker()
    looker.start()
    yield looker
    looker.enough.set()


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


def test_the_token_is_in_no_process_no_journal_and_no_file_but_its_own(
    provisioned: Lab, connect: Callable[[str], dict[str, Any]], looker: Looker
) -> None:
    inventory = str(provisioned.inventory)
    runs = [
        provisioned.nbfleet("up", "-i", inventory, ACCOUNT, "-vvv", "--diff", "-e", "survey_trust=false"),
        provisioned.nbfleet("restart", ACCOUNT),
        provisioned.nbfleet("status", ACCOUNT),
        provisioned.nbfleet("logs", ACCOUNT),
        # A task that fails prints what it was given.
        provisioned.nbfleet("up", "-i", inventory, ACCOUNT, "-vvv", "-e", "jupyter_service_base_url=wrong"),
    ]
    assert [run.code for run in runs] == [0, 0, 0, 0, 5], [run.err[-500:] for run in runs]
    _, token = split(str(connect(ACCOUNT)["url"]))
    looker.enough.set()
    looker.join(30)
    assert looker.rounds > 20
    assert not [seen for seen in looker.seen if token.encode() in seen]
    assert not [run for run in runs if token in run.out + run.err]
    places = "/home /root /run /tmp /var/log /var/tmp /dev/shm"
    for machine in ("node12", "bastion"):
        found = provisioned.root(machine, f"grep -rlF --exclude-dir=miniconda3 {token} {places} 2>/dev/null || :")
        assert found.out.split() == (["/home/robert/.config/nbfleet/token"] if machine == "node12" else [])
        assert token not in provisioned.root(machine, "journalctl --no-pager").out
    assert provisioned.root("node12", "stat -c %a /home/robert/.config/nbfleet/token").out.strip() == "600"


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
        "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus systemctl --user stop nbfleet-jupyter.service",
        "loginctl disable-linger robert",
    ],
)
def test_another_user_of_the_machine_gets_nowhere(provisioned: Lab, attempt: str) -> None:
    assert provisioned.on(STRANGER, "true").code == 0
    assert provisioned.on(STRANGER, f"sh -c '{attempt}'").code != 0


def test_no_kernel_or_server_listens_where_other_users_reach_it(provisioned: Lab) -> None:
    uid = provisioned.on(ACCOUNT, "id -u").out.split()[-1]
    # Column 8 of these tables is the owner; 0A is "listening".
    table = provisioned.root("node12", "cat /proc/net/tcp /proc/net/tcp6").out
    rows = [line.split() for line in table.splitlines() if ":" in line]
    assert rows
    assert not [row for row in rows if row[3] == "0A" and row[7] == uid]


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
