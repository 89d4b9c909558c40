"""What another user of a machine can try while something goes on: to get in the way in folders that all may write to.

Usage: racer.py FOLDER ... -- TARGET ...

It runs on the machine, as that user, until it is ended. Of every name that comes up in a FOLDER it reads what it can,
and tries to put something in it and to take its place. Of every name that went for the second time, and of the numbers
that would come next, it makes links to the TARGETs and folders for everybody, so that they are there when the name
comes again. What it sees and does are lines on standard output, a word and a path: seen, read, entered, took, planted.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
import struct
import sys
from pathlib import Path

COMES, GOES = 0x100 | 0x80, 0x200 | 0x40  # of inotify(7): made or moved here, deleted or moved away
EVENT = struct.Struct("iIII")  # number of the folder, what happened, cookie, length of the name
NEXT = 8  # numbers that are guessed


class Racer:
    """One user's doings."""

    def __init__(self, targets: list[str]) -> None:
        self.libc = ctypes.CDLL(None)
        self.queue = self.libc.inotify_init()
        self.watched = dict[int, Path]()
        self.mine, self.gone = set[Path](), set[Path]()
        self.targets = itertools.cycle([*targets, ""])  # nothing: a folder
        self.spare = Path.home() / "spare"

    def watch(self, folder: Path) -> None:
        """Have word of every name that comes or goes in a folder."""
        number = self.libc.inotify_add_watch(self.queue, os.fsencode(folder), COMES | GOES)
        self.watched[number] = folder

    def run(self) -> None:
        """Act on what happens, for ever."""
        while data := os.read(self.queue, 1 << 16):
            while data:
                number, what, _, size = EVENT.unpack_from(data)
                name, data = data[EVENT.size :][:size].rstrip(b"\0"), data[EVENT.size + size :]
                path = self.watched[number] / os.fsdecode(name)  # a lost word has no number, and is the end
                if path not in self.mine and what & (COMES | GOES):
                    (self.attack if what & COMES else self.plant)(path)

    def say(self, word: str, path: Path) -> None:
        """Tell what was seen or done."""
        sys.stdout.write(f"{word} {path}\n")
        sys.stdout.flush()

    def attack(self, path: Path) -> None:
        """Read it, put something in it, and take its place."""
        self.say("seen", path)
        with contextlib.suppress(OSError):
            if path.is_dir():
                list(path.iterdir())
                self.watch(path)
            else:
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW))
            self.say("read", path)
        with contextlib.suppress(OSError):
            self.mine.add(path / "mine")
            (path / "mine").symlink_to(next(self.targets) or "/")
            self.say("entered", path)
        with contextlib.suppress(OSError):
            if not self.spare.is_symlink():
                self.spare.symlink_to(next(self.targets) or "/")
            self.spare.replace(path)
            self.mine.add(path)
            self.say("took", path)

    def plant(self, path: Path) -> None:
        """Be there before the name comes again, or the number after it."""
        places = [path] if path in self.gone else []
        self.gone.add(path)
        if number := re.search(r"\d+$", path.name):
            stem, first = path.name[: number.start()], int(number[0])
            places += [path.with_name(f"{stem}{first + step}") for step in range(1, NEXT + 1)]
        for place in places:
            self.mine.add(place)
            with contextlib.suppress(OSError):
                if target := next(self.targets):
                    place.symlink_to(target)
                else:
                    place.mkdir()
                self.say("planted", place)


if __name__ == "__main__":
    os.umask(0)
    split = sys.argv.index("--")
    racer = Racer(sys.argv[split + 1 :])
    for argument in sys.argv[1:split]:
        racer.watch(Path(argument))
    racer.run()
