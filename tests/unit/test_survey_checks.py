"""The doctor's lines: what each answer of an account means."""

from __future__ import annotations

import time
from typing import Any

import pytest
from role_code import load

survey_checks = load("survey", "survey_checks", "filter_plugins").survey_checks

NEEDS = {"glibc": "2.28", "megabytes": 1000, "prefix": "/home/robert/miniconda3"}
GOOD: dict[str, Any] = {
    "user": "robert",
    "home": "/home/robert",
    "login_shell": "/bin/bash",
    "libc": "glibc",
    "libc_version": "2.36",
    "home_free_mb": 5000,
    "home_filesystem": "ext2/ext3",
    "home_writable": True,
    "home_options": "rw,relatime",
    "temporary_executable": True,
    "prefix_python": False,
    "machine_python": "3.11.2",
    "urls": ["200 http://mirror"],
    "keeper": "user",
    "refused": "",
}


def levels(stdout: str = "<<nbfleet survey 1>>", refusals: tuple[str, ...] = (), **answer: object) -> dict[str, str]:
    """Return the levels that are not ok, with what is said."""
    found = survey_checks(
        stdout, {**GOOD, "clock": int(time.time()), **answer}, ["no receipt of an earlier run"], refusals, NEEDS
    )
    return {line["check"]: f"{line['level']}: {line['says']}" for line in found if line["level"] != "ok"}


def test_a_good_account_has_nothing_but_ok() -> None:
    assert levels() == {}


@pytest.mark.parametrize(
    ("answer", "check", "says"),
    [
        ({"stdout": "hello you\n<<nbfleet survey 1>>"}, "shell", "warn: /bin/bash prints to programs: hello you"),
        ({"libc_version": "2.17"}, "libc", "fail: glibc 2.17, 2.28 is needed"),
        ({"libc_version": "2.9"}, "libc", "fail: glibc 2.9, 2.28 is needed"),
        ({"libc": "musl", "libc_version": ""}, "libc", "fail: musl; conda's programs need glibc 2.28"),
        ({"home_free_mb": 200}, "space", "fail: 200 MB free at home, 1000 MB are needed"),
        ({"home_writable": False}, "home", "fail: /home/robert cannot be written"),
        ({"home_options": "rw,noexec"}, "home", "fail: /home/robert is mounted noexec, programs would not start there"),
        (
            {"home_filesystem": "nfs", "apart": "-pc7"},
            "home",
            "warn: /home/robert, on nfs, is of many machines: what is this one's own has names ending in -pc7",
        ),
        ({"urls": ["000 http://mirror"]}, "channel", "fail: http://mirror does not answer; set a proxy or a mirror"),
        ({"urls": ["407 http://mirror"]}, "channel", "warn: http://mirror answers 407"),
        ({"urls": ["none http://mirror"]}, "channel", "fail: neither curl nor wget is there to download with"),
        ({"clock": time.time() - 366 * 86400}, "clock", "warn: 36"),
        (
            {"keeper": "session", "refused": "lingering is refused"},
            "keeper",
            "warn: session, because lingering is refused; a reboot is not survived",
        ),
        (
            {"keeper": "none", "refused": "lingering is refused"},
            "keeper",
            "fail: none: lingering is refused; ask an admin for `loginctl enable-linger robert`",
        ),
        ({"refusals": ("It cannot be.",)}, "up", "fail: It cannot be."),
    ],
)
def test_what_is_in_the_way_is_one_line(answer: dict[str, Any], check: str, says: str) -> None:
    found = levels(**answer)
    assert list(found) == [check]
    assert found[check].startswith(says)
