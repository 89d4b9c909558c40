"""What a survey's answer means for a person: one line for each thing that can be in the way."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BEGIN = "<<nbfleet survey 1>>"
LONGEST = 110  # characters of a prefix that fit into a program's first line
CLOCK_SECONDS = 300  # off by more: certificates and file times begin to mislead

Check = dict[str, str]


def check(name: str, level: str, says: str) -> Check:
    """Return one line: ok, warn (it works, and somebody should know) or fail (it does not)."""
    return {"check": name, "level": level, "says": says}


def survey_checks(
    stdout: str, answer: Mapping[str, Any], work: Sequence[str], refusals: Sequence[str], needs: Mapping[str, Any]
) -> list[Check]:
    """Return what there is to say about an account, in the order in which it matters.

    Args:
        stdout: All that the account printed, its shell's noise included.
        answer: The survey's answer, with those of doctor.sh.
        work: Why a run would have work.
        refusals: Why it would not begin.
        needs: What conda needs: `glibc`, `megabytes`, `prefix`.
    """
    return [
        _shell(stdout, answer),
        _python(answer),
        _libc(answer, str(needs["glibc"])),
        _space(answer, int(needs["megabytes"])),
        _home(answer, str(needs["prefix"])),
        *_temporary(answer),
        *_addresses(answer),
        _clock(answer),
        _keeper(answer),
        _run(work, refusals),
    ]


def _shell(stdout: str, answer: Mapping[str, Any]) -> Check:
    noise = " ".join(stdout.partition(BEGIN)[0].split())
    if noise:
        return check("shell", "warn", f"{answer['login_shell']} prints to programs: {noise[:80]}")
    return check("shell", "ok", f"{answer['login_shell']}, silent")


def _python(answer: Mapping[str, Any]) -> Check:
    if answer["prefix_python"]:
        return check("python", "ok", "conda's own")
    return check("python", "ok", f"{answer.get('machine_python') or 'none'} on the machine; conda brings its own")


def _libc(answer: Mapping[str, Any], needed: str) -> Check:
    if answer["libc"] != "glibc":
        return check("libc", "fail", f"{answer['libc']}; conda's programs need glibc {needed}")
    has = str(answer["libc_version"])
    enough = [int(part) for part in has.split(".")] >= [int(part) for part in needed.split(".")]
    return check("libc", "ok" if enough else "fail", f"glibc {has}, {needed} is needed")


def _space(answer: Mapping[str, Any], needed: int) -> Check:
    free = answer["home_free_mb"]
    if answer["prefix_python"]:
        return check("space", "ok" if free > 200 else "warn", f"{free} MB free at home, conda is there")
    return check("space", "ok" if free >= needed else "fail", f"{free} MB free at home, {needed} MB are needed")


def _home(answer: Mapping[str, Any], prefix: str) -> Check:
    options = str(answer.get("home_options", "")).split(",")
    if not answer.get("home_writable", True):
        return check("home", "fail", f"{answer['home']} cannot be written")
    if "noexec" in options:
        return check("home", "fail", f"{answer['home']} is mounted noexec, programs would not start there")
    if len(prefix) > LONGEST:
        return check(
            "home", "fail", f"{prefix} has more than {LONGEST} characters, conda's programs stop working beyond"
        )
    if answer.get("apart"):
        own = f"what is this one's own has names ending in {answer['apart']}"
        return check("home", "warn", f"{answer['home']}, on {answer['home_filesystem']}, is of many machines: {own}")
    return check("home", "ok", f"{answer['home']}, on this machine's own disk")


def _temporary(answer: Mapping[str, Any]) -> list[Check]:
    if answer.get("temporary_executable", True):
        return []
    return [check("temporary", "ok", "programs may not run from /tmp; none of ours does")]


def _addresses(answer: Mapping[str, Any]) -> list[Check]:
    found = []
    for code, _, url in (text.partition(" ") for text in answer.get("urls", [])):
        if code == "none":
            found.append(check("channel", "fail", "neither curl nor wget is there to download with"))
        elif not code.strip("0"):
            found.append(check("channel", "fail", f"{url} does not answer; set a proxy or a mirror"))
        elif code in ("401", "403", "407") or code.startswith("5"):
            found.append(check("channel", "warn", f"{url} answers {code}"))
        else:
            found.append(check("channel", "ok", f"{url} answers"))
    return found


def _clock(answer: Mapping[str, Any]) -> Check:
    off = int(answer.get("clock", time.time())) - int(time.time())
    if abs(off) <= CLOCK_SECONDS:
        return check("clock", "ok", "as here")
    days, rest = divmod(abs(off), 86400)
    size = f"{days} days" if days else f"{rest // 60} min"
    return check("clock", "warn", f"{size} {'ahead' if off > 0 else 'behind'}; downloads by https may be refused")


def _keeper(answer: Mapping[str, Any]) -> Check:
    keeper, refused = answer["keeper"], answer["refused"]
    if keeper == "none":
        return check("keeper", "fail", f"none: {refused}; ask an admin for `loginctl enable-linger {answer['user']}`")
    says = keeper + (f", because {refused}" if refused else "")
    if keeper == "session":
        says += "; a reboot is survived by cron alone" if answer.get("cron") else "; a reboot is not survived"
        return check("keeper", "warn", says)
    return check("keeper", "warn" if refused else "ok", says)


def _run(work: Sequence[str], refusals: Sequence[str]) -> Check:
    if refusals:
        return check("up", "fail", " ".join(refusals))
    return check("up", "ok", f"has work: {'; '.join(work)}" if work else "has nothing to do")


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, object]:
        """Return the name of each filter with its function."""
        return {"survey_checks": survey_checks}
