"""Accounts in tight places: each either works, or is refused by one sentence before anything is touched."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from accounts import open_and_see, told, up

from tests.faults.clock import clock_library

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.machines import Lab

pytestmark = pytest.mark.sampled("worlds")
USER = "anna.maria-lena"
ACCOUNT = f"{USER}-node12"
HOME = f"/home/{USER}"
LONG = f"/home/{'x' * 60}/{USER}"
LONGER = f"/home/{'x' * 90}/{USER}"

MOVE = "pkill -KILL -u {user}; mkdir -p $(dirname {to}) && usermod -d {to} {user} && mv {home} {to}"
BACK = "umount {home}; [ -d {home} ] || mv $(getent passwd {user} | cut -d: -f6) {home}; usermod -d {home} {user}"
OVER = """
mount -t tmpfs -o {options},mode=750,uid=$(id -u {user}),gid=$(id -g {user}) tmpfs {home}.new
cp -a {home}/.ssh {home}.new/ && mount --move {home}.new {home}
"""
ANYWHERE = "mkdir -p {home}.new; mount --make-private / 2>/dev/null; pkill -KILL -u {user}; "


def script(text: str, **words: str) -> str:
    """Return a script of root's for the account."""
    return text.format(user=USER, home=HOME, **words)


@pytest.fixture
def place(lab: Lab) -> Iterator[Lab]:
    """The lab, whose account is put back into its own home afterwards."""
    yield lab
    lab.nbfleet("disconnect", ACCOUNT)
    lab.nbfleet("remove", "-i", str(lab.inventory), ACCOUNT, "--yes")
    lab.root(
        "node12",
        "mount -o remount,exec /tmp; "
        + script("pkill -KILL -u {user}; loginctl disable-linger {user}; ")
        + script(BACK),
    )


def test_a_long_home_open_to_all_a_narrow_umask_and_a_tmp_without_programs(place: Lab) -> None:
    narrow = f" && chmod 755 {LONG} && sed -i '1i umask 077' {LONG}/.bashrc {LONG}/.profile"
    made = place.root("node12", script(MOVE, to=LONG) + narrow + " && mount -o remount,noexec /tmp")
    assert made.code == 0, made.err
    up(place, ACCOUNT)
    assert told(place, ACCOUNT)["answers"] is True
    open_and_see(place, ACCOUNT)
    again = place.playbook("site", "--limit", ACCOUNT, "-e", "survey_trust=false")
    assert "changed=0" in again.out, again.out
    assert place.root("node12", f"stat -c %a {LONG}").out.strip() == "755"


@pytest.fixture
def year_ahead(place: Lab, tmp_path: Path) -> Iterator[Lab]:
    """The lab, one of whose machines has a clock that is a year ahead for every program that starts."""
    files = "/etc/ld.so.preload /etc/clock-offset /usr/local/lib/clock.so"
    try:
        ahead = place.root(
            "node12",
            f"echo {clock_library(place, tmp_path)} | base64 -d >/usr/local/lib/clock.so && "
            f"echo {365 * 86400} >/etc/clock-offset && echo /usr/local/lib/clock.so >/etc/ld.so.preload",
        )
        assert ahead.code == 0, ahead.err
        yield place
    finally:
        place.root("node12", f"rm -f {files}")


def test_a_clock_that_is_a_year_off_is_told_and_no_hindrance(year_ahead: Lab) -> None:
    lab = year_ahead
    off = int(lab.said(ACCOUNT, "date +%s")) - time.time()
    assert off == pytest.approx(365 * 86400, abs=60)
    looked = lab.nbfleet("doctor", "-i", str(lab.inventory), ACCOUNT, "--json")
    (account,) = looked.answer["data"]["accounts"]
    assert [one["level"] for one in account["checks"] if one["check"] == "clock"] == ["warn"], account
    up(lab, ACCOUNT)
    open_and_see(lab, ACCOUNT)
    again = lab.playbook("site", "--limit", ACCOUNT)
    assert "changed=0" in again.out, again.out
    assert "Install conda" not in again.out


@pytest.mark.parametrize(
    ("narrow", "sentence", "seen"),
    [
        (ANYWHERE + OVER.replace("{options}", "size=200m"), "MB are free at", "free at home, "),
        (ANYWHERE + OVER.replace("{options}", "size=3g,noexec"), "is mounted noexec", "is mounted noexec"),
        (
            ANYWHERE + "mount --bind {home} {home} && mount -o remount,ro,bind {home}",
            "is mounted read-only",
            "cannot be written",
        ),
        (MOVE.replace("{to}", LONGER), "110", "110 characters"),
    ],
    ids=["200 MB", "noexec", "read-only", "long"],
)
def test_what_cannot_work_is_refused_and_nothing_is_touched(place: Lab, narrow: str, sentence: str, seen: str) -> None:
    made = place.root("node12", script(narrow))
    assert made.code == 0, made.err
    home = place.root("node12", f"getent passwd {USER} | cut -d: -f6").out.strip()
    before = place.root("node12", f"ls -A {home}").out
    looked = place.nbfleet("doctor", "-i", str(place.inventory), ACCOUNT, "--json")
    done = place.nbfleet("up", "-i", str(place.inventory), ACCOUNT, "--json")
    assert (looked.code, done.code) == (5, 5), looked.out + done.out
    assert sentence in done.answer["error"]["message"]
    (account,) = looked.answer["data"]["accounts"]
    assert [line for line in account["checks"] if line["level"] == "fail" and seen in line["says"]], account
    assert place.root("node12", f"ls -A {home}").out == before
