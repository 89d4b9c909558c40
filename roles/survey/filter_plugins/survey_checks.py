"""What a survey's answer means for a person: one line for each thing that can be in the way."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BEGIN = "<<nbfleet survey 1>>"
LONGEST = 110  # characters of a prefix that fit into a program's first line
CLOCK_SECONDS = 300  # off by more: certificates and file times begin to mislead
LOW_MEGABYTES, LOW_INODES = 200, 1000  # free where conda is there: too little for work
OLDEST_PYTHON = (3, 9)  # that Ansible's modules run with

Check = dict[str, str]


def check(name: str, level: str, says: str) -> Check:
    """Return one line: ok, warn (it works, and somebody should know) or fail (it does not)."""
    return {"check": name, "level": level, "says": says}


def survey_checks(
    stdout: str,
    answer: Mapping[str, Any],
    work: Sequence[str],
    refusals: Sequence[str],
    needs: Mapping[str, Any],
    urls: Mapping[str, Sequence[str]],
    spared: Mapping[str, str],
) -> list[Check]:
    """Return what there is to say about an account, in the order in which it matters.

    Args:
        stdout: All that the account printed, its shell's noise included.
        answer: The survey's answer, with those of doctor.sh.
        work: Why a run would have work.
        refusals: Why it would not begin.
        needs: What conda needs: `glibc`, `megabytes`, `inodes`, `prefix`.
        urls: The addresses that the account needs, of `installer` and `channel`.
        spared: Why it does not need them.
    """
    return [
        _shell(stdout, answer),
        _python(answer),
        _libc(answer, str(needs["glibc"])),
        _space(answer, needs),
        _home(answer, str(needs["prefix"])),
        *_temporary(answer),
        *_addresses(answer, urls, spared),
        _clock(answer),
        _keeper(answer),
        _run(answer, work, refusals),
    ]


def _shell(stdout: str, answer: Mapping[str, Any]) -> Check:
    noise = " ".join(stdout.partition(BEGIN)[0].split())
    if noise:
        return check("shell", "warn", f"{answer['login_shell']} prints to programs: {noise[:80]}")
    return check("shell", "ok", f"{answer['login_shell']}, silent")


def _python(answer: Mapping[str, Any]) -> Check:
    has = str(answer.get("machine_python", "none"))
    if has == "none":
        has = f"only {answer['python']}" if answer["python"] else "none"
    elif has == "broken":
        has = "broken, its python3 does not run"
    elif tuple(int(part) for part in re.findall(r"\d+", has)[:2]) < OLDEST_PYTHON:
        has += ", too old for Ansible"
    return check("python", "ok", f"{has}; nbfleet {'has brought' if answer['prefix_python'] else 'brings'} its own")


def _libc(answer: Mapping[str, Any], needed: str) -> Check:
    if answer["libc"] != "glibc":
        return check("libc", "fail", f"{answer['libc']}; conda's programs need glibc {needed}")
    has = str(answer["libc_version"])
    enough = [int(part) for part in has.split(".")] >= [int(part) for part in needed.split(".")]
    return check("libc", "ok" if enough else "fail", f"glibc {has}, {needed} is needed")


def _space(answer: Mapping[str, Any], needs: Mapping[str, Any]) -> Check:
    place = "at home" if needs["prefix"].startswith(f"{answer['home']}/") else f"at {needs['prefix']}"
    megabytes, inodes = answer["prefix_free_mb"], answer["prefix_free_inodes"]
    # Some file systems make inodes as they are needed, and count none.
    files = f" and {inodes} files (inodes)" if inodes else ""
    free = f"{megabytes} MB{files} free {place}"
    if answer["prefix_python"]:
        low = megabytes <= LOW_MEGABYTES or (files and inodes <= LOW_INODES)
        return check("space", "warn" if low else "ok", f"{free}, conda is there")
    enough = megabytes >= int(needs["megabytes"]) and (not files or inodes >= int(needs["inodes"]))
    return check(
        "space", "ok" if enough else "fail", f"{free}, {needs['megabytes']} MB and {needs['inodes']} are needed"
    )


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
    place = f"{answer['home']}, on {answer['home_filesystem']}"
    others = str(answer.get("others", "")).split()
    if answer.get("apart"):
        own = f"what is this one's own has names ending in {answer['apart']}"
        return check("home", "warn", f"{place}, is of many machines: {own}")
    if others:
        has = f"{len(others)} other{'s have their' if len(others) > 1 else ' has its'}"
        return check("home", "warn", f"{place}, is of many machines: this one was first, {has} own names")
    if answer.get("home_of_many"):
        return check("home", "warn", f"{place}, may be of many machines; no other one has a Jupyter there")
    return check("home", "ok", f"{place}; no other machine is known to have it")


def _temporary(answer: Mapping[str, Any]) -> list[Check]:
    if answer.get("temporary_executable", True):
        return []
    return [check("temporary", "ok", "programs may not run from /tmp; none of ours does")]


def _addresses(answer: Mapping[str, Any], urls: Mapping[str, Sequence[str]], spared: Mapping[str, str]) -> list[Check]:
    codes = {url: code for code, _, url in (text.partition(" ") for text in answer.get("urls", []))}
    found = []
    for name, addresses in urls.items():
        why = spared.get(name) or ("conda is there" if name == "installer" and answer["prefix_python"] else "")
        told = [check(name, *_address(name, codes[url], url)) for url in addresses if url in codes]
        if why and (not told or any(line["level"] != "ok" for line in told)):
            says = "; ".join([*(line["says"].partition(";")[0] for line in told), why])
            told = [check(name, "ok", f"not needed: {says}")]
        found += told
    return found


def _address(name: str, code: str, url: str) -> tuple[str, str]:
    """Return the level and the sentence for what an address of the installer or a channel answered."""
    if code == "none" and name == "installer":
        return "fail", "neither curl nor wget is there to download with"
    if code == "none":
        return "ok", f"{url} was not asked, for want of curl and wget; conda needs neither"
    if code == "certificate":
        return "fail", f"{url} has a certificate that is not trusted there; name a file with those that are"
    if not code.strip("0"):
        return "fail", f"{url} does not answer; set a proxy or a mirror"
    if name == "channel" and code in ("404", "410"):  # a folder need not show what is in it
        return "fail", f"{url} answers {code}, nothing is there; correct the channel"
    if code in ("401", "403", "407") or code.startswith("5"):
        return "warn", f"{url} answers {code}"
    return "ok", f"{url} answers"


def _clock(answer: Mapping[str, Any]) -> Check:
    off = int(answer.get("clock", time.time())) - int(time.time())
    if abs(off) <= CLOCK_SECONDS:
        return check("clock", "ok", "as here")
    days, rest = divmod(abs(off), 86400)
    size = f"{days} days" if days else f"{rest // 60} min"
    return check("clock", "warn", f"{size} {'ahead' if off > 0 else 'behind'}; downloads by https may be refused")


def _keeper(answer: Mapping[str, Any]) -> Check:
    keeper, refused = _kept_by(answer), answer["refused"]
    if keeper == "none":
        return check("keeper", "fail", f"none: {refused}; ask an admin for `loginctl enable-linger {answer['user']}`")
    says = keeper + (f", because {refused}" if refused else "")
    if answer["keeper"] == "session":
        says += "; a reboot is survived by cron alone" if answer.get("cron") else "; a reboot is not survived"
        return check("keeper", "warn", says)
    return check("keeper", "warn" if refused else "ok", says)


def _kept_by(answer: Mapping[str, Any]) -> str:
    """Return the keeper, and of a session the program that would begin it."""
    by = answer.get("session_by") if answer["keeper"] == "session" else ""
    return f"{answer['keeper']} ({by})" if by else str(answer["keeper"])


def _run(answer: Mapping[str, Any], work: Sequence[str], refusals: Sequence[str]) -> Check:
    if refusals:
        return check("up", "fail", " ".join(refusals))
    if not work:
        return check("up", "ok", "has nothing to do")
    if answer["receipt"] is True:
        return check("up", "ok", f"has work: {'; '.join(work)}")
    conda = "take the conda that is there," if answer["prefix_python"] else "install conda,"
    return check("up", "ok", f"would {conda} install Jupyter, and make a service kept by {_kept_by(answer)}")


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, object]:
        """Return the name of each filter with its function."""
        return {"survey_checks": survey_checks}
