"""The doctor's lines: what each answer of an account means."""

from __future__ import annotations

import time
from typing import Any

import pytest
from role_code import load

survey_checks = load("survey", "survey_checks", "filter_plugins").survey_checks

NEEDS = {"glibc": "2.28", "megabytes": 1000, "inodes": 40000, "prefix": "/home/robert/miniconda3"}
URLS = {"installer": ["http://mirror/folder"], "channel": ["http://mirror/index"]}
GOOD: dict[str, Any] = {
    "user": "robert",
    "home": "/home/robert",
    "login_shell": "/bin/bash",
    "libc": "glibc",
    "libc_version": "2.36",
    "prefix_free_mb": 5000,
    "prefix_free_inodes": 100_000,
    "home_filesystem": "ext2/ext3",
    "home_writable": True,
    "home_options": "rw,relatime",
    "temporary_executable": True,
    "prefix_python": False,
    "python": "/usr/bin/python3",
    "receipt": False,
    "machine_python": "3.11.2",
    "urls": ["200 http://mirror/folder", "200 http://mirror/index"],
    "keeper": "user",
    "refused": "",
}


def said(
    stdout: str = "<<nbfleet survey 1>>",
    work: tuple[str, ...] = ("no receipt of an earlier run",),
    refusals: tuple[str, ...] = (),
    spared: dict[str, str] | None = None,
    **answer: object,
) -> dict[str, str]:
    """Return what is said of each thing, its level before it."""
    whole = {**GOOD, "clock": int(time.time()), **answer}
    found = survey_checks(stdout, whole, work, refusals, NEEDS, URLS, spared or {})
    return {line["check"]: f"{line['level']}: {line['says']}" for line in found}


def levels(**answer: Any) -> dict[str, str]:
    """Return the levels that are not ok, with what is said."""
    return {check: says for check, says in said(**answer).items() if not says.startswith("ok: ")}


def test_a_good_account_has_nothing_but_ok() -> None:
    assert levels() == {}


@pytest.mark.parametrize(
    ("answer", "check", "says"),
    [
        ({"stdout": "hello you\n<<nbfleet survey 1>>"}, "shell", "warn: /bin/bash prints to programs: hello you"),
        ({"libc_version": "2.17"}, "libc", "fail: glibc 2.17, 2.28 is needed"),
        ({"libc_version": "2.9"}, "libc", "fail: glibc 2.9, 2.28 is needed"),
        ({"libc": "musl", "libc_version": ""}, "libc", "fail: musl; conda's programs need glibc 2.28"),
        (
            {"prefix_free_mb": 200},
            "space",
            "fail: 200 MB and 100000 files (inodes) free at home, 1000 MB and 40000 are needed",
        ),
        ({"prefix_free_inodes": 200}, "space", "fail: 5000 MB and 200 files (inodes) free at home"),
        (
            {"prefix_free_inodes": 200, "prefix_python": True},
            "space",
            "warn: 5000 MB and 200 files (inodes) free at home",
        ),
        ({"home_writable": False}, "home", "fail: /home/robert cannot be written"),
        ({"home_options": "rw,noexec"}, "home", "fail: /home/robert is mounted noexec, programs would not start there"),
        (
            {"home_filesystem": "nfs", "apart": "-pc7"},
            "home",
            "warn: /home/robert, on nfs, is of many machines: what is this one's own has names ending in -pc7",
        ),
        (
            {"others": "/home/robert/.local/state/nbfleet/receipt-pc7"},
            "home",
            "warn: /home/robert, on ext2/ext3, is of many machines: this one was first, 1 other has its own names",
        ),
        (
            {"home_of_many": True, "home_filesystem": "nfs"},
            "home",
            "warn: /home/robert, on nfs, may be of many machines",
        ),
        (
            {"urls": ["000 http://mirror/index"]},
            "channel",
            "fail: http://mirror/index does not answer; set a proxy or a mirror",
        ),
        ({"urls": ["000 http://mirror/folder"]}, "installer", "fail: http://mirror/folder does not answer"),
        ({"urls": ["407 http://mirror/index"]}, "channel", "warn: http://mirror/index answers 407"),
        ({"urls": ["404 http://mirror/index"]}, "channel", "fail: http://mirror/index answers 404, nothing is there"),
        ({"urls": ["certificate http://mirror/index"]}, "channel", "fail: http://mirror/index has a certificate that"),
        (
            {"urls": ["none http://mirror/folder", "none http://mirror/index"]},
            "installer",
            "fail: neither curl nor wget is there to download with",
        ),
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


def test_an_address_that_is_not_needed_is_in_nobody_s_way() -> None:
    lost = ["000 http://mirror/folder", "000 http://mirror/index"]
    found = said(urls=lost, spared={"channel": "this computer sends the packages"})
    assert found["channel"] == "ok: not needed: http://mirror/index does not answer; this computer sends the packages"
    assert found["installer"].startswith("fail: ")
    assert said(urls=lost, prefix_python=True)["installer"].endswith("folder does not answer; conda is there")
    apart = said(urls=[], spared={"installer": "the bundle has it", "channel": "the bundle has them"})
    assert (apart["installer"], apart["channel"]) == (
        "ok: not needed: the bundle has it",
        "ok: not needed: the bundle has them",
    )


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({}, "3.11.2; nbfleet brings its own"),
        ({"prefix_python": True, "python": ""}, "3.11.2; nbfleet has brought its own"),
        ({"machine_python": "none", "python": ""}, "none; nbfleet brings its own"),
        (
            {"machine_python": "none", "python": "/usr/bin/python3.13"},
            "only /usr/bin/python3.13; nbfleet brings its own",
        ),
        ({"machine_python": "3.8.20", "python": ""}, "3.8.20, too old for Ansible; nbfleet brings its own"),
        ({"machine_python": "broken", "python": ""}, "broken, its python3 does not run; nbfleet brings its own"),
    ],
)
def test_the_machine_s_python_is_named_and_in_nobody_s_way(answer: dict[str, Any], says: str) -> None:
    assert said(**answer)["python"] == f"ok: {says}"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({}, "would install conda, install Jupyter, and make a service kept by user"),
        (
            {"keeper": "session", "session_by": "screen", "prefix_python": True},
            "would take the conda that is there, install Jupyter, and make a service kept by session (screen)",
        ),
        (
            {"receipt": True, "work": ("~/.bashrc changed", "the lock changed")},
            "has work: ~/.bashrc changed; the lock changed",
        ),
        ({"receipt": True, "work": ()}, "has nothing to do"),
    ],
)
def test_what_a_run_would_do_is_said(answer: dict[str, Any], says: str) -> None:
    assert said(**answer)["up"] == f"ok: {says}"


def test_a_folder_that_shows_nothing_is_no_obstacle() -> None:
    assert said(urls=["404 http://mirror/folder"])["installer"] == "ok: http://mirror/folder answers"


def test_a_file_system_that_counts_no_inodes_has_enough() -> None:
    assert said(prefix_free_inodes=0)["space"].startswith("ok: 5000 MB free at home")


def test_a_prefix_elsewhere_is_looked_at_there() -> None:
    needs = {**NEEDS, "prefix": "/opt/nbfleet/miniconda3"}
    found = survey_checks("", {**GOOD, "prefix_free_mb": 10}, [], [], needs, {}, {})
    assert [line["says"][:50] for line in found if line["level"] == "fail"] == [
        "10 MB and 100000 files (inodes) free at /opt/nbfle"
    ]
