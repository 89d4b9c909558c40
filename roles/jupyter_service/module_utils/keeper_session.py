# SPDX-License-Identifier: Apache-2.0
"""A session that outlives the login as keeper: a supervisor in tmux, in screen or behind setsid."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .keeper import Keeper, Refusal, call

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Session(Keeper):
    """The supervisor of session.py, spoken to by its own command; cron, where there is one, starts it at boot."""

    kind = "session"

    def __init__(self, command: Path, log: Path, *, seconds: int) -> None:
        super().__init__(seconds=seconds, where=f"see {log} on the account")
        self.command = command
        self.log_file = log
        self.told = self._show()

    @property
    def running(self) -> bool:
        """Whether the supervisor has brought the server up."""
        return self.told.get("state") == "active"

    def needed(self, *, stale: bool, restart: bool) -> list[str]:
        """Return what has to be done, from what the supervisor noted."""
        lines = self._crontab()
        steps = ["boot"] if lines is not None and self._boot not in lines else []
        if not self.running:
            steps.append("start")
        elif stale or restart:
            steps.append("restart")
        return steps

    def carry_out(self, steps: Sequence[str]) -> None:
        """Have cron start it at boot, and start it now."""
        if "boot" in steps:
            self._write_crontab([*(self._crontab() or []), self._boot])
        for verb in {"start", "restart"} & set(steps):
            began = time.time()
            status, _, said = self._order(verb, seconds=self.seconds + 90)
            if status != 0:
                raise self.failed_to_start(said, began)

    def removable(self) -> list[str]:
        """Return what has to be undone."""
        steps = ["stop"] if self.told.get("state", "inactive") != "inactive" else []
        return [*steps, "unboot"] if self._boot in (self._crontab() or []) else steps

    def undo(self, steps: Sequence[str]) -> None:
        """End the supervisor, and take our line out of the crontab."""
        if "stop" in steps:
            status, _, said = self._order("stop", seconds=90)
            if status != 0:
                raise Refusal(f"Jupyter could not be stopped ({said or status}); end its processes on the account")
        if "unboot" in steps:
            self._write_crontab([line for line in self._crontab() or [] if line != self._boot])

    def main_pid(self) -> str:
        """Return the server's process."""
        return self._show().get("server", "")

    def log(self, since: float) -> list[str]:
        """Return the log's last lines if it was written since."""
        try:
            if self.log_file.stat().st_mtime < since - 1:
                return []
            return self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]
        except OSError:
            return []

    @property
    def _boot(self) -> str:
        return f"@reboot sh {self.command} start # nbfleet"

    def _order(self, verb: str, *, seconds: float) -> tuple[int, str, str]:
        return call("sh", str(self.command), verb, environ=self.environ, seconds=seconds)

    def _show(self) -> dict[str, str]:
        """Return what the supervisor noted; nothing where it is not installed."""
        status, out, _ = self._order("show", seconds=60)
        return dict(line.partition("=")[::2] for line in out.splitlines()) if status == 0 else {}

    def _crontab(self) -> list[str] | None:
        """Return the lines of the account's crontab; None where it may have none."""
        status, out, said = call("crontab", "-l", environ=self.environ)
        if status == 0:
            return out.splitlines()
        return [] if status == 1 and "no crontab for" in said else None

    def _write_crontab(self, lines: Sequence[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        words = ["crontab", "-"] if text else ["crontab", "-r"]
        status, _, said = call(*words, environ=self.environ, text=text)
        if status != 0:
            raise Refusal(f"the crontab could not be written ({said or status}); look at `crontab -e` on the account")
