"""What others could see while something goes on: processes, and what lies in the folders that all may write to."""

from __future__ import annotations

import base64
import contextlib
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.machines import Lab

SHARED_FOLDERS = ("tmp", "var/tmp", "dev/shm")

LARGE = 4 << 20  # bytes; nothing that is made in a run for a run has so many


def shows(words: bytes, secret: bytes) -> bool:
    """Tell whether a secret is in there, plain or wrapped up by base64, wherever in the wrapped text it begins."""
    forms = [secret]
    for before in range(3):
        wrapped = base64.b64encode(bytes(before) + secret)
        # What the bytes before and after have a share in is not known.
        forms.append(wrapped[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6])
    return any(form in words for form in forms)


class Looker(threading.Thread):
    """Looks again and again, until it is told that it is enough.

    The processes are those of this computer: the lab's machines run on it, too.

    Args:
        lab: The lab, where files count.
        machine: Where they count.
        users: Whose files count there.
        below: A folder of this computer; what the files in it hold counts, too.
    """

    def __init__(self, lab: Lab | None = None, machine: str = "", *users: str, below: Path | None = None) -> None:
        super().__init__(daemon=True)
        self.arguments: set[bytes] = set()
        self.environments: set[bytes] = set()
        self.files: dict[str, int] = {}  # in those folders, with their modes
        self.contents: set[tuple[str, bytes]] = set()
        self.rounds = 0
        self._enough = threading.Event()
        self._below, self._read = below, dict[Path, tuple[int, int]]()
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

            for path in self._below.rglob("*") if self._below else ():
                with contextlib.suppress(OSError):
                    self._look_into(path)

    def _look_into(self, path: Path) -> None:
        found = path.lstat()
        state = (found.st_mtime_ns, found.st_size)
        if stat.S_ISREG(found.st_mode) and found.st_size < LARGE and self._read.get(path) != state:
            self._read[path] = state
            self.contents.add((str(path), path.read_bytes()))

    def end(self) -> None:
        """Look no more; it has looked often enough to have seen what there was."""
        self._enough.set()
        self.join(30)
        assert self.rounds > 20
