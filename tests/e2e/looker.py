"""What others could see while something goes on: processes, and what lies in the folders that all may write to."""

from __future__ import annotations

import contextlib
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.machines import Lab

SHARED_FOLDERS = ("tmp", "var/tmp", "dev/shm")


class Looker(threading.Thread):
    """Looks again and again, until it is told that it is enough.

    The processes are those of this computer: the lab's machines run on it, too.

    Args:
        lab: The lab, where files count.
        machine: Where they count.
        users: Whose files count there.
    """

    def __init__(self, lab: Lab | None = None, machine: str = "", *users: str) -> None:
        super().__init__(daemon=True)
        self.arguments: set[bytes] = set()
        self.environments: set[bytes] = set()
        self.files: dict[str, int] = {}  # in those folders, with their modes
        self.rounds = 0
        self._enough = threading.Event()
        self._folders, self._uids = list[Path](), list[int]()
        if lab:
            self._folders = [Path("/proc", lab.pid(machine), "root", name) for name in SHARED_FOLDERS]
            self._uids = [int(lab.root(machine, f"id -u {user}").out) for user in users]

    def run(self) -> None:
        """Look; processes and files come and go meanwhile."""
        while not self._enough.wait(0.03):
            self.rounds += 1
            for process in Path("/proc").glob("[0-9]*"):
                for name, seen in (("cmdline", self.arguments), ("environ", self.environments)):
                    with contextlib.suppress(OSError):
                        seen.add((process / name).read_bytes())
            for folder in self._folders:
                for path in folder.glob("*"):
                    with contextlib.suppress(OSError):
                        found = path.lstat()
                        if found.st_uid in self._uids:
                            self.files[str(path)] = stat.S_IMODE(found.st_mode)

    def end(self) -> None:
        """Look no more; it has looked often enough to have seen what there was."""
        self._enough.set()
        self.join(30)
        assert self.rounds > 20
