# SPDX-License-Identifier: Apache-2.0
"""Run the script that installs conda, as the module raw would, and judge its last word."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

WELL = {"changed", "unchanged"}
LAST_WORD = re.compile(r"^@nbfleet (\w+) (.*?)\s*$", re.MULTILINE)
FETCH_SECONDS = 3600
# Another run at the same prefix may take the folder away that the installer is pushed to.
PUSHES = 3

Answer = tuple[str, str]


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible has no type hints
    """Needs no Python on the account.

    Arguments:
    - ``script``: what the account runs; empty: nothing.
    - ``proxy``: for the download. It may hold a password, so it goes to the script's standard input and never into an
      argument, which every user of a machine can read.
    - ``store``: folder here that holds the installer in ``installers``; empty: this user's cache.
    - ``file``, ``sha256``: the installer, should the script ask for it.
    - ``fetch``: the script that downloads it to the store, run here; empty: it has to be there.
    """

    _VALID_ARGS = frozenset({"script", "proxy", "store", "file", "sha256", "fetch"})
    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the script's sentence, and whether it changed something."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = {name: str(value or "") for name, value in self._task.args.items()}
        if args.get("script"):
            status, sentence = self._install(args)
        elif self._task.check_mode:
            here = intact(installers(args) / args["file"], args["sha256"])
            status, sentence = (
                ("unchanged" if here else "changed"),
                f"{args['file']} is {'' if here else 'not yet '}here.",
            )
        else:
            status, sentence = fetched(args)
        return {**result, "msg": sentence, "changed": status == "changed", "failed": status not in WELL}

    def _install(self, args: dict[str, str]) -> Answer:
        status, sentence = self._answer(args["script"], args["proxy"])
        for left in reversed(range(PUSHES)):
            if status != "wanting":
                break
            installer, pushed = provided(args), sentence
            # Over standard input, so that whoever becomes the account's user needs no file of his own there.
            put = f"cat >{shlex.quote(pushed)}"
            sent = self._low_level_execute_command(put, in_data=installer.read_bytes(), executable=False)
            if sent["rc"] and not left:
                why = " ".join(str(sent["stderr"]).split())[-200:]
                raise AnsibleActionFail(f"{pushed} could not be sent ({why}); free some space there, and run again.")
            status, sentence = self._answer(args["script"], args["proxy"], pushed)
        if status == "wanting":
            return "lost", "The installer that was sent to the account did not stay there as it was; run again."
        return status, sentence

    def _answer(self, script: str, proxy: str, pushed: str = "") -> Answer:
        code = base64.b64encode(f"PUSHED={shlex.quote(pushed)}\n{script}".encode()).decode()
        # Read alike by every login shell; leaves standard input to the script.
        command = f"""sh -c 'eval "$(echo {code} | base64 -d)"'"""
        # Without input there is a terminal, so that the script ends when the connection does.
        given = f"{proxy}\n".encode() if proxy else None
        said = self._low_level_execute_command(command, in_data=given, executable=False)
        heard = " ".join(f"{said['stdout']} {said['stderr']}".split())[:200]
        lost = f"The account gave no answer ({heard}), the connection or the script was ended; run again, it continues."
        return last_word(said["stdout"]) or ("lost", lost)


def last_word(stdout: str) -> Answer | None:
    """Return the script's status and sentence; None when it did not come to its end."""
    words = LAST_WORD.findall(stdout.replace("\r\n", "\n"))
    return (str(words[-1][0]), str(words[-1][1])) if words else None


def provided(args: dict[str, str]) -> Path:
    """Return the installer in the store, which is downloaded there if it may be.

    Raises:
        AnsibleActionFail: It is not there, or is another than its hash says.
    """
    installer = installers(args) / args["file"]
    if args["fetch"]:
        status, sentence = fetched(args)
        if status not in WELL:
            raise AnsibleActionFail(sentence)
    elif not intact(installer, args["sha256"]):
        raise AnsibleActionFail(
            f"{installer} is not there, or another than its hash says; where there is a network, run "
            f"nbfleet bundle --to {args['store']}."
        )
    return installer


def installers(args: dict[str, str]) -> Path:
    """Return the folder of installers in the store."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nbfleet"
    return (Path(args["store"]).expanduser().absolute() if args["store"] else cache) / "installers"


def intact(file: Path, sha256: str) -> bool:
    """Say whether a file is there and is what its hash says."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == sha256
    except OSError:
        return False


def fetched(args: dict[str, str]) -> Answer:
    """Run the script that downloads to the store, once in this run whatever comes of it; the others wait for its end.

    Raises:
        AnsibleActionFail: It took too long.
    """
    script = f"PREFIX={shlex.quote(str(installers(args)))}\n{args['fetch']}"
    name = hashlib.sha256(script.encode()).hexdigest()[:16]
    deadline = time.monotonic() + FETCH_SECONDS
    with Path(constants.DEFAULT_LOCAL_TMP, f"nbfleet-{name}.fetched").open("a+", encoding="utf-8") as note:
        while True:
            try:
                fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise AnsibleActionFail(
                        f"The installer is being fetched for another account since {FETCH_SECONDS} s; look at that one."
                    ) from None
                time.sleep(0.1)
        note.seek(0)
        status, _, sentence = note.read().partition(" ")
        if not status:
            status, sentence = run_here(script)
            note.write(f"{status} {sentence}")
    # Who only waited has changed nothing.
    return status, sentence


def run_here(script: str) -> Answer:
    """Run the script on this computer and return its answer."""
    try:
        done = subprocess.run(
            ["/bin/sh"],
            input=script,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=FETCH_SECONDS,
            env={**os.environ, "PUSHED": ""},
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return (
            "refused",
            f"The installer could not be fetched within {FETCH_SECONDS} s; look at this computer's network.",
        )
    said = f"{done.stdout} {done.stderr}".strip()[-200:]
    return last_word(done.stdout) or ("refused", f"The installer could not be fetched here ({said}).")
