# SPDX-License-Identifier: Apache-2.0
"""The account's own systemd as keeper: a user unit and lingering."""

from __future__ import annotations

import getpass
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .keeper import Keeper, Refusal, call

if TYPE_CHECKING:
    from collections.abc import Sequence

PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "MainPID", "FragmentPath", "Result")
LINGER = Path("/var/lib/systemd/linger")


class UserUnit(Keeper):
    """A unit of the user's systemd."""

    kind = "user"

    def __init__(self, name: str, *, linger: bool, linger_record: Path, seconds: int) -> None:
        super().__init__(seconds=seconds, where=f"see `journalctl --user -u {name}` on the account")
        self.name = name
        self.linger = linger
        self.record = linger_record
        runtime = self.environ.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
        self.environ.setdefault("DBUS_SESSION_BUS_ADDRESS", f"unix:path={runtime}/bus")
        self.runtime = Path(runtime)
        self.unit = self._unit()

    def arrive(self) -> None:
        """Wait for the user's systemd, if root has switched lingering on a moment ago."""
        if self._lingers and not self.unit:
            self._wait()
            self.unit = self._unit()

    @property
    def running(self) -> bool:
        """Whether the unit is active."""
        return self.unit.get("ActiveState") == "active"

    def needed(self, *, stale: bool, restart: bool) -> list[str]:
        """Return what has to be done, from what the user manager says about the unit."""
        steps = ["linger"] if self.linger and not self._lingers else []
        if self.unit.get("UnitFileState") != "enabled":
            steps.append("enable")
        # One that is starting, perhaps again and again, was begun from earlier files: a start would only wait for that.
        if self.unit.get("ActiveState") == "activating" or (self.running and (stale or restart)):
            steps.append("restart")
        elif not self.running:
            steps.append("start")
        return steps

    def carry_out(self, steps: Sequence[str]) -> None:
        """Let it linger, enable and start it."""
        if "linger" in steps:
            self._enable_linger()
            self._wait()
        self.unit = self.unit or self._unit()
        if not self.unit:
            raise Refusal(
                "no systemd user manager answers on this account; log in through sshd with PAM, or ask an admin"
            )
        if {"enable", "start", "restart"} & set(steps) or self.unit.get("NeedDaemonReload") == "yes":
            self._systemctl("daemon-reload")
        if "enable" in steps:
            self._systemctl("enable", self.name)
        for verb in {"start", "restart"} & set(steps):
            self._start(verb)

    def removable(self) -> list[str]:
        """Return what has to be undone."""
        steps = []
        if self.unit.get("ActiveState") not in ("inactive", "failed", None):
            steps.append("stop")
        if self.unit.get("UnitFileState") == "enabled":
            steps.append("disable")
        if self.unit.get("FragmentPath"):
            steps.append("forget")
        if self.record.exists():
            steps.append("unlinger")
        return steps

    def undo(self, steps: Sequence[str]) -> None:
        """Stop, disable and forget the unit, and switch lingering off if we switched it on."""
        for verb in ("stop", "disable"):
            if verb in steps:
                self._systemctl(verb, self.name, seconds=120)
        if "forget" in steps:
            Path(self.unit["FragmentPath"]).unlink()
            self._systemctl("daemon-reload")
            self._call("systemctl", "--user", "reset-failed", self.name)
        if "unlinger" in steps and self.linger:
            self._disable_linger()

    def main_pid(self) -> str:
        """Return the unit's main process."""
        return self._unit().get("MainPID", "")

    def log(self, since: float) -> list[str]:
        """Return the unit's lines of the journal."""
        words = ("journalctl", "--user", f"_SYSTEMD_USER_UNIT={self.name}", f"--since=@{int(since)}", "-n", "200")
        _, out, _ = self._call(*words, "-o", "cat", "--no-pager", "-q")
        return out.splitlines() or ["the journal shows nothing to this user; an admin sees it with journalctl"]

    def _call(self, *argv: str, seconds: float = 60) -> tuple[int, str, str]:
        return call(*argv, environ=self.environ, seconds=seconds)

    def _systemctl(self, *words: str, seconds: float = 60) -> None:
        status, _, said = self._call("systemctl", "--user", *words, seconds=seconds)
        if status != 0:
            raise Refusal(f"`systemctl --user {' '.join(words)}` failed ({said.splitlines()[0] if said else status})")

    def _unit(self) -> dict[str, str]:
        """Return the unit's properties; empty when no user manager answers."""
        status, out, _ = self._call("systemctl", "--user", "show", self.name, "--property", ",".join(PROPERTIES))
        return dict(line.partition("=")[::2] for line in out.splitlines()) if status == 0 else {}

    def _start(self, verb: str) -> None:
        """Start or restart, with earlier failures forgiven."""
        self._call("systemctl", "--user", "reset-failed", self.name)
        began = time.time()
        status, _, said = self._call("systemctl", "--user", verb, self.name, seconds=self.seconds + 60)
        if status != 0:
            raise self.failed_to_start(said, began)

    def _enable_linger(self) -> None:
        """Let the user's services run without a login."""
        user = getpass.getuser()
        self.record.parent.mkdir(parents=True, exist_ok=True)
        self.record.write_text("Lingering was switched on by nbfleet.\n", encoding="utf-8")
        status, _, said = self._call("loginctl", "--no-ask-password", "enable-linger", user)
        if status != 0:
            self.record.unlink()
            why = said.splitlines()[0].rstrip(".") if said else f"status {status}"
            raise Refusal(
                f"without lingering Jupyter would end with {user}'s last login, and this machine refuses it ({why}); "
                f"ask an admin for `loginctl enable-linger {user}`"
            )

    @property
    def _lingers(self) -> bool:
        return (LINGER / getpass.getuser()).exists()

    def _wait(self) -> None:
        """Wait until the user's systemd answers, which lingering starts."""
        deadline = time.monotonic() + 30
        while not (self.runtime / "bus").exists():
            if time.monotonic() > deadline:
                user = getpass.getuser()
                raise Refusal(f"the user manager of {user} did not come up within 30 s; ask an admin to look at it")
            time.sleep(0.1)

    def _disable_linger(self) -> None:
        """Switch lingering off again."""
        user = getpass.getuser()
        status, _, said = self._call("loginctl", "--no-ask-password", "disable-linger", user)
        if status != 0:
            raise Refusal(
                f"lingering could not be switched off ({said}); ask an admin for `loginctl disable-linger {user}`"
            )
        self.record.unlink()
