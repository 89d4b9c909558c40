#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Keep a systemd user service enabled, started from its present files, lingering, and proved to work."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOCUMENTATION = r"""
module: user_service
short_description: Keep a systemd user service running from its present files, and prove that it works
description:
  - Lets the user's services outlive the login, enables and starts the service, and runs a command that proves it works.
  - A running service is restarted exactly when the files that it was started from are not the present ones;
    so a run that was cut off between writing and restarting is made good by the next one.
options:
  name:
    description: Name of the unit.
    type: str
    required: true
  files:
    description: The files the service is started from.
    type: list
    elements: path
    default: []
  renewed:
    description: Whether this run has written one of O(files), or in check mode would.
    type: bool
    default: false
  started_from:
    description: File in which the service notes the hash of O(files) at its start.
    type: path
  proof:
    description: Command that ends with 0 when the service does its work.
    type: list
    elements: str
    default: []
  linger:
    description: Whether the user's services have to run without a login.
    type: bool
    default: true
  linger_record:
    description: File that notes that lingering was switched on here, for O(state=absent).
    type: path
    required: true
  timeout:
    description: Seconds that a start may take.
    type: int
    default: 180
  state:
    description: V(restarted) restarts in any case; V(absent) stops and disables, and switches lingering off if it was
      switched on here.
    type: str
    choices: [started, restarted, absent]
    default: started
author: nbfleet
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Keep Jupyter running
  user_service:
    name: nbfleet-jupyter.service
    linger_record: /home/robert/.config/nbfleet/linger
"""

RETURN = r"""
done:
  description: What was, or in check mode would be, done.
  returned: always
  type: list
  elements: str
journal:
  description: The last lines that the service wrote.
  returned: it did not start or did not prove to work
  type: list
  elements: str
"""

PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "MainPID", "FragmentPath", "Result")
LINGER = Path("/var/lib/systemd/linger")


class Refusal(Exception):  # noqa: N818 - it is an answer, not an accident
    """One sentence for the user: what is wrong, and what to do next."""

    def __init__(self, message: str, journal: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.journal = list(journal)


def fingerprint(files: Sequence[str]) -> str:
    """Return one hash over the contents of all files; a missing one counts as empty."""
    whole = hashlib.sha256()
    for file in files:
        path = Path(file)
        whole.update(hashlib.sha256(path.read_bytes() if path.is_file() else b"").digest())
    return whole.hexdigest()


def needed(unit: Mapping[str, str], *, linger: bool, lingers: bool, stale: bool, restart: bool) -> list[str]:
    """Return what has to be done, in order, from what the user manager says about the unit."""
    state = unit.get("ActiveState")
    steps = ["linger"] if linger and not lingers else []
    if unit.get("UnitFileState") != "enabled":
        steps.append("enable")
    # One that is starting, perhaps again and again, was begun from earlier files: a start would only wait for that.
    if state == "activating" or (state == "active" and (stale or restart)):
        steps.append("restart")
    elif state != "active":
        steps.append("start")
    return steps


def removable(unit: Mapping[str, str], *, lingers_by_us: bool) -> list[str]:
    """Return what has to be undone, in order."""
    steps = []
    if unit.get("ActiveState") not in ("inactive", "failed", None):
        steps.append("stop")
    if unit.get("UnitFileState") == "enabled":
        steps.append("disable")
    if unit.get("FragmentPath"):
        steps.append("forget")
    if lingers_by_us:
        steps.append("unlinger")
    return steps


def telling(journal: Sequence[str]) -> str:
    """Return the line that says best why a service did not start: an error's, else a gate's of ours, else the last."""
    lines = [line.strip() for line in journal if line.strip()]
    errors = [
        match[1] for line in lines if (match := re.search(r"(?:^|\] )([\w.]*(?:Error|ERROR|Exception): .*)", line))
    ]
    gates = [line for line in lines if re.match(r"Jupyter (?:could|did|answers) |the token file ", line)]
    return (errors or gates or lines or [""])[-1][:300].rstrip(".")


class Manager:
    """The user's systemd: every call of another program is here."""

    def __init__(self, name: str, *, seconds: int) -> None:
        self.name = name
        self.seconds = seconds
        runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
        self.environ = {**os.environ, "XDG_RUNTIME_DIR": runtime, "LC_ALL": "C.UTF-8"}
        self.environ.setdefault("DBUS_SESSION_BUS_ADDRESS", f"unix:path={runtime}/bus")
        self.runtime = Path(runtime)

    def call(self, *argv: str, seconds: float = 60) -> tuple[int, str, str]:
        """Run a command to its end; returns status, output and messages."""
        try:
            answer = subprocess.run(
                argv,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=seconds,
            )
        except FileNotFoundError:
            return 127, "", f"there is no {argv[0]}"
        except subprocess.TimeoutExpired:
            return 124, "", f"{argv[0]} did not end within {seconds:.0f} s"
        return answer.returncode, answer.stdout, answer.stderr.strip()

    def systemctl(self, *words: str, seconds: float = 60) -> None:
        """Call the user's systemctl.

        Raises:
            Refusal: It did not do it.
        """
        status, _, said = self.call("systemctl", "--user", *words, seconds=seconds)
        if status != 0:
            raise Refusal(f"`systemctl --user {' '.join(words)}` failed ({said.splitlines()[0] if said else status})")

    def unit(self) -> dict[str, str]:
        """Return the unit's properties; empty when no user manager answers."""
        wanted = ",".join(PROPERTIES)
        status, out, _ = self.call("systemctl", "--user", "show", self.name, "--property", wanted)
        return dict(line.partition("=")[::2] for line in out.splitlines()) if status == 0 else {}

    def journal(self, since: float) -> list[str]:
        """Return what the service itself wrote since a moment."""
        words = ("journalctl", "--user", f"_SYSTEMD_USER_UNIT={self.name}", f"--since=@{int(since)}", "-n", "200")
        _, out, _ = self.call(*words, "-o", "cat", "--no-pager", "-q")
        return out.splitlines() or ["the journal shows nothing to this user; an admin sees it with journalctl"]

    def start(self, verb: str) -> None:
        """Start or restart, with earlier failures forgiven.

        Raises:
            Refusal: It did not come up; with its last lines.
        """
        self.call("systemctl", "--user", "reset-failed", self.name)
        began = time.time()
        status, _, said = self.call("systemctl", "--user", verb, self.name, seconds=self.seconds + 60)
        if status != 0:
            journal = self.journal(began)
            raise Refusal(
                f"the service {self.name} did not start ({telling(journal) or said}); "
                f"see `journalctl --user -u {self.name}` on the account",
                journal[-15:],
            )

    def prove(self, command: Sequence[str]) -> None:
        """Run the command that proves that the service works.

        Raises:
            Refusal: It says no; with the service's last lines.
        """
        self.environ["MAINPID"] = self.unit().get("MainPID", "")
        status, out, said = self.call(*command, seconds=self.seconds)
        if status != 0:
            lines = (said or out).splitlines()
            why = lines[-1] if lines else f"status {status}"
            raise Refusal(
                f"the service {self.name} runs but does not work ({why}); "
                f"see `journalctl --user -u {self.name}` on the account",
                self.journal(time.time() - 600)[-15:],
            )

    def enable_linger(self, record: Path) -> None:
        """Let the user's services run without a login, and wait until its manager answers.

        Raises:
            Refusal: The machine does not allow it, or the manager does not come.
        """
        user = getpass.getuser()
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text("Lingering was switched on by nbfleet.\n", encoding="utf-8")
        status, _, said = self.call("loginctl", "--no-ask-password", "enable-linger", user)
        if status != 0:
            record.unlink()
            why = said.splitlines()[0].rstrip(".") if said else f"status {status}"
            raise Refusal(
                f"without lingering Jupyter would end with {user}'s last login, and this machine refuses it ({why}); "
                f"ask an admin for `loginctl enable-linger {user}`"
            )
        deadline = time.monotonic() + 30
        while not (self.runtime / "bus").exists():
            if time.monotonic() > deadline:
                raise Refusal(f"the user manager of {user} did not come up within 30 s; ask an admin to look at it")
            time.sleep(0.1)

    def disable_linger(self, record: Path) -> None:
        """Switch lingering off again.

        Raises:
            Refusal: The machine does not allow it.
        """
        user = getpass.getuser()
        status, _, said = self.call("loginctl", "--no-ask-password", "disable-linger", user)
        if status != 0:
            raise Refusal(
                f"lingering could not be switched off ({said}); ask an admin for `loginctl disable-linger {user}`"
            )
        record.unlink()


def ensure(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Bring the service to the state that was asked for."""
    manager = Manager(params["name"], seconds=params["timeout"])
    record, unit = Path(params["linger_record"]), manager.unit()
    if params["state"] == "absent":
        steps = removable(unit, lingers_by_us=record.exists())
        if not check_mode:
            undo(manager, unit, steps, record)
        return {"changed": bool(steps), "done": steps}
    lingers = (LINGER / getpass.getuser()).exists()
    stale = check_mode and params["renewed"]
    if params["started_from"] and unit.get("ActiveState") == "active":
        noted = Path(params["started_from"])
        stale |= (noted.read_text(encoding="utf-8") if noted.is_file() else "") != fingerprint(params["files"])
    wants = {"linger": params["linger"], "lingers": lingers, "stale": stale}
    steps = needed(unit, **wants, restart=params["state"] == "restarted")
    if not check_mode:
        if "linger" in steps:
            manager.enable_linger(record)
        unit = unit or manager.unit()
        if not unit:
            raise Refusal(
                "no systemd user manager answers on this account; log in through sshd with PAM, or ask an admin"
            )
        if {"enable", "start", "restart"} & set(steps) or unit.get("NeedDaemonReload") == "yes":
            manager.systemctl("daemon-reload")
        if "enable" in steps:
            manager.systemctl("enable", params["name"])
        for verb in {"start", "restart"} & set(steps):
            manager.start(verb)
        if params["proof"]:
            manager.prove(params["proof"])
    return {"changed": bool(steps), "done": steps}


def undo(manager: Manager, unit: Mapping[str, str], steps: Sequence[str], record: Path) -> None:
    """Stop, disable and forget the service, and switch lingering off if we switched it on."""
    for verb in ("stop", "disable"):
        if verb in steps:
            manager.systemctl(verb, manager.name, seconds=120)
    if "forget" in steps:
        Path(unit["FragmentPath"]).unlink()
        manager.systemctl("daemon-reload")
        manager.call("systemctl", "--user", "reset-failed", manager.name)
    if "unlinger" in steps:
        manager.disable_linger(record)


def main() -> None:
    """Read the arguments, act, and answer."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
            "renewed": {"type": "bool", "default": False},
            "started_from": {"type": "path"},
            "proof": {"type": "list", "elements": "str", "default": []},
            "linger": {"type": "bool", "default": True},
            "linger_record": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 180},
            "state": {"type": "str", "choices": ["started", "restarted", "absent"], "default": "started"},
        },
        supports_check_mode=True,
    )
    try:
        result = ensure(module.params, check_mode=module.check_mode)
    except Refusal as refusal:
        module.fail_json(msg=f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.", journal=refusal.journal)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror or error}; give the file back to its user.")
    header = module.params["name"]
    lines = "".join(f"{step}\n" for step in result["done"])
    diff = [{"before_header": header, "after_header": header, "before": "", "after": lines}] if lines else []
    module.exit_json(**result, diff=diff)


if __name__ == "__main__":
    main()
