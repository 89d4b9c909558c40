# SPDX-License-Identifier: Apache-2.0
"""The machine's systemd as keeper: a system unit that runs as the account. What root has to do is only named here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .keeper import Keeper, Refusal, call

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PROPERTIES = ("ActiveState", "UnitFileState", "MainPID")


class SystemUnit(Keeper):
    """A unit of the machine's systemd with `User=`, looked at by the account itself."""

    kind = "system"

    def __init__(self, name: str, file: Path, content: str, *, seconds: int) -> None:
        super().__init__(seconds=seconds, where=f"see `journalctl -u {name}` on the machine")
        self.name = name
        self.file = file
        self.content = content
        self.unit = self._unit()

    @property
    def running(self) -> bool:
        """Whether the unit is active."""
        return self.unit.get("ActiveState") == "active"

    def needed(self, *, stale: bool, restart: bool) -> list[str]:
        """Return what root has to do."""
        written = self.file.is_file() and self.file.read_text(encoding="utf-8") == self.content
        steps = [] if written else ["write"]
        if self.unit.get("UnitFileState") != "enabled":
            steps.append("enable")
        # One that is starting was begun from earlier files: a start would only wait for that.
        if self.unit.get("ActiveState") == "activating" or (self.running and (stale or restart or not written)):
            steps.append("restart")
        elif not self.running:
            steps.append("start")
        return steps

    def carry_out(self, steps: Sequence[str]) -> None:
        """Leave it to root, who comes next; the unit's own readiness gate is the proof then."""

    def removable(self) -> list[str]:
        """Return what root has to undo."""
        steps = ["stop"] if self.unit.get("ActiveState") not in ("inactive", "failed", None) else []
        return [*steps, "forget"] if self.file.exists() else steps

    def undo(self, steps: Sequence[str]) -> None:
        """Refuse what root should have done before."""
        if steps:
            raise Refusal(f"the system unit {self.name} is there, and only root can remove it; ask an admin for that")

    def main_pid(self) -> str:
        """Return the unit's main process."""
        return self._unit().get("MainPID", "")

    def log(self, since: float) -> list[str]:
        """Return the unit's lines of the journal, as far as the account may read them."""
        words = ("journalctl", "-u", self.name, f"--since=@{int(since)}", "-n", "200", "-o", "cat", "--no-pager", "-q")
        return call(*words, environ=self.environ)[1].splitlines()

    def _unit(self) -> dict[str, str]:
        words = ("systemctl", "show", self.name, "--property", ",".join(PROPERTIES))
        status, out, _ = call(*words, environ=self.environ)
        return dict(line.partition("=")[::2] for line in out.splitlines()) if status == 0 else {}
