"""Where the token is and is not, from the first provision to removal, and what it and its cookies are good for."""

from __future__ import annotations

import http.client
import http.cookiejar
import json
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml
from looker import SHARED_FOLDERS, Looker, shows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.machines import Lab

ACCOUNT = "robert-node12"
WATCHED = "finn-node12"  # from its first provision to its removal
PLACES = "/home /root /run /tmp /var/log /var/tmp /dev/shm"
# A configuration that is Python, and fails when it is run: Jupyter starts with its defaults, and is ended.
WRONG = '{"jupyter_service_extra_config": "1 / 0"}'
# Its arguments are worked out on the node, so that no call of it from here has them.
SIGN = "env SIGN=sign-$((6 * 7)) sleep 1.$((6 * 7))"


@pytest.fixture
def alone(lab: Lab) -> Iterator[Lab]:
    """The lab of a user who has all that is written on this computer for a while in one folder."""
    with lab.apart() as made:
        own = Path(made.environment["XDG_RUNTIME_DIR"])
        more = {"TMPDIR": str(own / "tmp"), "ANSIBLE_HOME": str(own / "ansible")}
        for folder in more.values():
            Path(folder).mkdir(mode=0o700)
        yield replace(made, environment={**made.environment, **more})


@pytest.fixture
def looker(alone: Lab) -> Iterator[Looker]:
    looker = Looker(alone, "node12", "finn", below=Path(alone.environment["XDG_RUNTIME_DIR"]))
    looker.start()
    yield looker
    looker.end()


def split(url: str) -> tuple[str, str]:
    """Return an address without its page, and its token."""
    page, _, token = url.partition("?token=")
    assert len(token) == 64
    return page.removesuffix("tree").removesuffix("lab"), token


def token_of(answer: str) -> str:
    """Return the token in what `connect --json` says."""
    return split(str(json.loads(answer)["data"]["url"]))[1]


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


class Browser:
    """What has logged in once, and has a cookie for it since.

    Args:
        base: The address of a Jupyter.
        token: What it logs in with.
    """

    def __init__(self, base: str, token: str) -> None:
        self.base, self.token = base, token
        self._jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._jar))
        assert status(f"{base}tree?token={token}", opener=self.opener) == 200

    def send(self, verb: str, path: str, origin: str, **headers: str) -> tuple[int, bytes]:
        """Send a request as a page of an origin lets the browser do it; returns its status and what came."""
        parts = urlsplit(self.base)
        cookies = {cookie.name: str(cookie.value) for cookie in self._jar}
        headers |= {"Origin": origin, "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        headers |= {"X-XSRFToken": cookies["_xsrf"]}
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        try:
            connection.request(verb, f"{parts.path}{path}", body="{}" if verb == "POST" else None, headers=headers)
            answer = connection.getresponse()
            return answer.status, b"" if answer.status == 101 else answer.read()
        finally:
            connection.close()

    def post(self, path: str, origin: str) -> tuple[int, Any]:
        """Post nothing in particular; returns the status and the answer's object."""
        code, said = self.send("POST", path, origin)
        return code, json.loads(said) if code == 201 else None

    def handshake(self, path: str, origin: str) -> int:
        """Ask for a websocket; returns the status."""
        words = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        return self.send("GET", path, origin, **words, **{"Sec-WebSocket-Key": "bmJmbGVldCBuYmZsZWV0IQ=="})[0]


def test_from_the_first_provision_to_removal_the_token_is_nowhere_but_in_its_file(
    lab: Lab, alone: Lab, looker: Looker
) -> None:
    lab.bare("node12", "finn")
    inventory = str(lab.inventory)
    loud = ("-vvv", "--diff")

    def token() -> bytes:
        opened = alone.nbfleet("connect", WATCHED, "--background", "--no-browser", "--json", "-vvv")
        assert opened.code == 0, opened.out
        assert token_of(opened.out) not in opened.err
        return token_of(opened.out).encode()

    runs = [alone.nbfleet("up", "-i", inventory, WATCHED, *loud)]
    first, looker.files = looker.files, {}
    secrets = [token()]
    runs += [
        alone.playbook("site", "--limit", WATCHED, *loud, "-e", "survey_trust=false"),
        alone.nbfleet("restart", WATCHED, "-vvv"),
        alone.nbfleet("status", WATCHED, "-vvv"),
        alone.nbfleet("logs", WATCHED, "-vvv"),
        alone.nbfleet("upgrade", "-i", inventory, WATCHED, *loud),
        alone.nbfleet("restart", "--new-token", "-i", inventory, WATCHED, "-vvv"),
    ]
    secrets.append(token())
    # A task that fails prints what it was given, and a server that fails what it has.
    runs.append(alone.nbfleet("up", "-i", inventory, WATCHED, *loud, "-e", WRONG))
    assert alone.as_user("node12", "finn", SIGN).code == 0
    seen, looker.arguments = looker.arguments, set()
    kept = lab.root("node12", "stat -c %a /home/finn/.config/nbfleet/token").out.strip()
    found = {(name, one): holding(lab, name, one, PLACES) for name in ("node12", "bastion") for one in secrets}
    looker.arguments = set()  # these searches had it there
    runs.append(alone.nbfleet("remove", "-i", inventory, WATCHED, "--yes", *loud))
    looker.end()
    assert [run.code for run in runs] == [0, 0, 0, 0, 0, 0, 0, 5, 0], [run.err[-500:] for run in runs]
    assert "Keep the token" in runs[1].out
    assert "Jupyter Server" in runs[4].out
    assert "could not read its configuration" in runs[7].out + runs[7].err
    assert b"sleep\x001.42\x00" in seen
    assert any(b"SIGN=sign-42\x00" in words for words in looker.environments)
    # What ansible-runner was given, and the modules on their way.
    assert [path for path, _ in looker.contents if path.endswith("/env/cmdline")]
    assert [path for path, _ in looker.contents if "/endpoints/" in path or "/state/" in path]
    for secret in secrets:
        words = seen | looker.arguments | looker.environments
        assert not [one for one in words if shows(one, secret)]
        assert not [path for path, text in looker.contents if shows(text, secret)]
        assert not [run for run in runs if shows((run.out + run.err).encode(), secret)]
    assert found == {
        ("node12", secrets[0]): [],
        ("node12", secrets[1]): ["/home/finn/.config/nbfleet/token"],
        ("bastion", secrets[0]): [],
        ("bastion", secrets[1]): [],
    }
    assert kept == "600"
    assert [holding(lab, "node12", one, PLACES) for one in secrets] == [[], []]
    # On this computer: what is remembered of accounts and forwards, shells' histories, temporary files.
    own = [
        str(lab.directory),
        *(f"/{folder}" for folder in SHARED_FOLDERS),
        *(str(path) for path in [*Path.home().glob(".*_history"), Path.home() / ".ansible"]),
    ]
    for secret in secrets:
        assert lab.run("grep", "-rlF", "--devices=skip", secret.decode(), *own).out == ""
    # What lay where everybody may write was for the account alone, and had another name each time.
    assert not [path for path, mode in {**first, **looker.files}.items() if mode & 0o077]
    assert not set(first) & set(looker.files)


def holding(lab: Lab, machine: str, secret: bytes, places: str) -> list[str]:
    """Return the files of a machine that hold the token, and its journal if that does."""
    token = secret.decode()
    files = lab.root(machine, f"grep -rlF --devices=skip --exclude-dir=miniconda3 {token} {places} 2>/dev/null || :")
    journal = ["the journal"] if token in lab.root(machine, "journalctl --no-pager").out else []
    return files.out.split() + journal


def test_a_foreign_page_is_refused(connect: Callable[[str], dict[str, Any]]) -> None:
    base, token = split(str(connect(ACCOUNT)["url"]))
    assert status(f"{base}api/contents?content=0", token=token) == 200
    # A name that an attacker lets point to 127.0.0.1, and a page of his that calls.
    assert status(f"{base}api/contents?content=0", token=token, Host="evil.example") == 403
    browser = Browser(base, token)
    assert status(f"{base}api/contents?content=0", opener=browser.opener, Origin="https://evil.example") in (403, 404)


def test_a_foreign_page_starts_no_kernel_and_speaks_to_none(connect: Callable[[str], dict[str, Any]]) -> None:
    browser = Browser(*split(str(connect(ACCOUNT)["url"])))
    own = browser.base.removesuffix(urlsplit(browser.base).path)
    # Even one that has learnt the word that Jupyter's own pages send with what they post.
    refused, _ = browser.post("api/kernels", "https://evil.example")
    assert refused in (403, 404)
    made, kernel = browser.post("api/kernels", own)
    assert made == 201
    path = f"api/kernels/{kernel['id']}"
    assert browser.handshake(f"{path}/channels", "https://evil.example") == 403
    assert browser.handshake(f"{path}/channels", own) == 101
    assert browser.send("DELETE", path, own)[0] == 204


@pytest.fixture
def both(provisioned: Lab, tmp_path: Path) -> Path:
    """An inventory with two accounts alone."""
    told = yaml.safe_load(provisioned.inventory.read_text())
    for name, machine in told["accounts"]["children"].items():
        wanted = ACCOUNT if name == "node12" else "robert-node13"
        machine["hosts"] = {host: words for host, words in machine["hosts"].items() if host == wanted}
    file = tmp_path / "hosts.yml"
    file.write_text(yaml.safe_dump(told))
    return file


@pytest.mark.parametrize("named", [["all"], [ACCOUNT, "robert-node13"]], ids=" ".join)
def test_new_tokens_for_all_end_the_old_ones_and_their_cookies(
    provisioned: Lab, connect: Callable[[str], dict[str, Any]], both: Path, named: list[str]
) -> None:
    doors = [Browser(*split(str(connect(name)["url"]))) for name in (ACCOUNT, "robert-node13")]
    page = "api/contents?content=0"
    assert [status(door.base + page, opener=door.opener) for door in doors] == [200, 200]
    renewed = provisioned.nbfleet("restart", "--new-token", "-i", str(both), *named)
    assert renewed.code == 0, renewed.err
    tokens = [split(str(connect(name)["url"]))[1] for name in (ACCOUNT, "robert-node13")]
    assert len({*tokens, *(door.token for door in doors)}) == 4
    assert [status(door.base + page, token=new) for door, new in zip(doors, tokens, strict=True)] == [200, 200]
    assert [status(door.base + page, token=door.token) for door in doors] == [403, 403]
    assert [status(door.base + page, opener=door.opener) for door in doors] == [403, 403]
