"""Where the token is and is not, from the first provision to removal, and what it and its cookies are good for."""

from __future__ import annotations

import http.cookiejar
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from looker import SHARED_FOLDERS, Looker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.machines import Lab

ACCOUNT = "robert-node12"
WATCHED = "finn-node12"  # from its first provision to its removal


@pytest.fixture
def looker(lab: Lab) -> Iterator[Looker]:
    looker = Looker(lab, "node12", "finn")
    looker.start()
    yield looker
    looker.end()


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
