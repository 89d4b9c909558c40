# SPDX-License-Identifier: Apache-2.0
"""One call of conda, and what its failure means in one sentence."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

from .conda_records import LOCK
from .conda_specs import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


def conda_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for conda: the caller's, without what another conda or Python left in it."""
    clean = {
        key: value for key, value in environ.items() if not key.startswith(("CONDA_", "_CE_", "PYTHON", "LD_", "PIP_"))
    }
    clean.update(
        CONDA_AUTO_UPDATE_CONDA="false", CONDA_NUMBER_CHANNEL_NOTICES="0", CONDA_REPORT_ERRORS="false", LC_ALL="C.UTF-8"
    )
    return clean


def read_answer(stdout: str) -> dict[str, Any]:
    """Return the JSON object in conda's output, whatever was printed before it; empty when there is none."""
    for start in (match.start() for match in re.finditer(r"^\{", stdout, re.MULTILINE)):
        with contextlib.suppress(ValueError):
            answer, _ = json.JSONDecoder().raw_decode(stdout[start:])
            return answer if isinstance(answer, dict) else {}
    return {}


def explain(answer: Mapping[str, Any], stderr: str, status: int, channels: Sequence[str], base: str = "") -> str:
    """Turn the failure of the conda in `base` into one sentence with the next step."""
    errors = [answer, *answer.get("errors", [])]
    named = {str(error.get("exception_name", "")): error for error in errors}
    said = " ".join(str(error.get("message") or error.get("error") or "") for error in errors)
    asked = ", ".join(channels)
    if "No space left on device" in said + stderr or "NoSpaceLeftError" in named:
        room = "free some space (`conda clean -ay` empties conda's own cache) and run again"
        return f"the disk is full, by bytes or by the number of its files (inodes); {room}"
    if "Disk quota exceeded" in said + stderr:
        return "the disk quota is used up; free some space (`conda clean -ay` empties conda's own cache) and run again"
    for name, error in named.items():
        if name in ("PackagesNotFoundInChannelsError", "PackagesNotFoundError", "ResolvePackageNotFound"):
            packages = ", ".join(map(str, error.get("packages") or [])) or first_line(said)
            return f"conda does not find {packages} in {asked}; correct the package list or the channels"
        if name.endswith("UnsatisfiableError"):
            why = _conflict(str(error.get("message", "")))
            return f"these packages cannot be installed together ({why}); loosen one of the versions"
        if name == "CondaHTTPError":
            return _explain_http(error)
        if name == "UnavailableInvalidChannel":
            place = error.get("channel_url") or error.get("channel_name") or asked
            return f"there is no conda channel at {place}; correct the channels"
        if name == "JSONDecodeError":
            return (
                f"what came from a channel ({asked}) is no index of a channel; check that it answers, or set a mirror"
            )
        if name == "ChecksumMismatchError":
            url = error.get("url", "from a channel")
            return f"the package {url} is not what its hash says; run again, or correct the lock or the mirror"
        if name in ("EnvironmentNotWritableError", "NotWritableError", "NoWritablePkgsDirError"):
            return f"conda may not write there ({first_line(said)}); give the folder back to its user"
        if name == "CorruptedEnvironmentError":
            file = error.get("corrupted_file", "a record")
            return f"the environment is damaged ({file}); delete that file and reinstall the package"
        if name == "CondaVerificationError":
            return "a package in conda's cache is damaged; run `conda clean -py` on the account and then again"
        if name == "LockError":
            return f"another conda is at work with the package cache of {base}; wait for its end and run again"
        if name.startswith("CondaToS"):
            return f"the terms of a channel ({asked}) are not accepted; use conda-forge or accept them"
    if status < 0 or status in (137, 143):
        number = -status if status < 0 else status - 128
        return f"conda was killed (signal {number}), perhaps for want of memory; run again"
    line = first_line(said) or last_line(stderr) or "no word from it"
    return f"conda ended with status {status} ({line}); run again, or try its command on the account"


def _explain_http(error: Mapping[str, Any]) -> str:
    url, status = error.get("url") or "a channel", str(error.get("status_code") or "000")
    if status in ("000", "None"):
        # Who asks: conda on the account, or the controller for all of them.
        asker = error.get("asker", "conda")
        there = " from the account" if asker == "conda" else ""
        return f"{asker} cannot reach {url}; check{there} that the channel answers, or set a proxy or a mirror"
    if status in ("401", "403", "407"):
        return f"the channel {url} refuses access (HTTP {status}); check the credentials of the channel or the proxy"
    if status == "404":
        return f"the channel has no {url} (HTTP 404); correct the channels or the lock"
    return f"the channel {url} answered HTTP {status}; run again later"


def _conflict(message: str) -> str:
    lines = [re.sub(r"^[\s│├└─]+", "", line).strip() for line in message.splitlines()]
    names = [line for line in lines if re.match(r"[\w.-]+ \S+", line) and "following" not in line]
    return "; ".join(names[:2])[:240] or first_line(message)


def first_line(text: str) -> str:
    """Return the first line that says something, shortened."""
    return next((line.strip()[:240] for line in text.splitlines() if line.strip()), "")


def last_line(text: str) -> str:
    """Return the last line that says something, shortened."""
    return first_line("\n".join(reversed(text.splitlines())))


@contextlib.contextmanager
def one_at_a_time(prefix: Path, *, seconds: float) -> Iterator[int]:
    """Hold the lock under which conda may work in this prefix; gives the lock's file descriptor.

    Raises:
        Refusal: Somebody else held it all the time.
    """
    deadline = time.monotonic() + seconds
    with (prefix / LOCK).open("a", encoding="utf-8") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise Refusal(
                        f"another run has used the conda in {prefix} for {seconds:.0f} s; wait for it or end it"
                    ) from None
                time.sleep(0.2)  # flock knows no limit of its own
        yield lock.fileno()


def run_conda(argv: Sequence[str], *, lock: int, seconds: float, stdin: str = "") -> tuple[int, str, str]:
    """Run conda, or a program that does its work, to its end and return status, output and messages.

    The lock is inherited: should this process die, the next run still waits for conda's end.

    Raises:
        Refusal: It took longer than allowed, and was ended.
    """
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=conda_environ(os.environ),
        cwd="/",
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=(lock,),
    )
    try:
        stdout, stderr = process.communicate(stdin or None, timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)  # conda rolls back
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        raise Refusal(
            f"conda did not finish within {seconds:.0f} s and was ended; allow more time or use a nearer mirror"
        ) from None
    return process.returncode, stdout, stderr


def conda_command(verb: str, base: Path, environment: Path, channels: Sequence[str]) -> list[str]:
    """Return the call of conda for an environment, to which what is wanted has to be added."""
    command = [str(base / "bin" / "conda"), verb, "-y", "--json", "-p", str(environment), "--override-channels"]
    for channel in channels:
        command += ["-c", channel]
    return command
