"""Another user of a machine who gets in the way of what goes on there, by `racer.py`, and what comes of it."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tests.machines import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machines import Lab

PLACE = "/srv/race"
# A file of each user's that others cannot write, and one that all can, for what is written into it to be read.
MAKE = f"""
useradd --create-home eve && mkdir -m 0755 {PLACE} && cd {PLACE} || exit
for user in "$@"; do echo $user >$user; chown $user: $user; chmod 0600 $user; done
: >trap; chmod 0666 trap
apart='( -path /proc -o -path /sys -o -path /home -o -path /srv ) -prune'
runuser -u eve -- find / $apart -o -type d -perm -0002 -print 2>/dev/null || :
"""
START = f'runuser -u eve -- python3 -c "$1" {{}} </dev/null >{PLACE}/words 2>&1 &'
CANARY = "/tmp/nbfleet-canary"  # noqa: S108 - on the machine


class Race:
    """That user.

    Args:
        lab: The lab.
        machine: Where it is.
        users: Those whose files it is after.
    """

    def __init__(self, lab: Lab, machine: str, *users: str) -> None:
        self._lab, self._machine, self._users = lab, machine, users
        self._targets = [*users, "trap"]
        self._folders: list[str] = []

    def begin(self) -> None:
        """Have it watch, and act."""
        self._folders = self._as("root", MAKE, *self._users).splitlines()
        script = Path(__file__).with_name("racer.py").read_text()
        arguments = [*self._folders, "/run/user", "--", *(f"{PLACE}/{name}" for name in self._targets)]
        self._as("root", START.format(shlex.join(arguments)), script)
        watching = "cat /proc/$(pgrep -u eve -x python3)/fdinfo/* | grep -c ^inotify || :"
        wait_for("it to watch", lambda: self._as("eve", watching) == f"{len(self._folders) + 1}\n", seconds=20)

    def end(self) -> None:
        """End it, and take away what it made."""
        folders = shlex.join(self._folders or [PLACE])
        self._as("root", f"pkill -KILL -u eve; find {folders} -user eve -delete; userdel --remove eve; rm -r {PLACE}")

    def words(self) -> list[tuple[str, str]]:
        """Return what it saw and did, each with the path."""
        lines = self._as("root", f"cat {PLACE}/words").splitlines()
        return [(word, path) for word, _, path in (line.partition(" ") for line in lines)]

    def changed(self) -> str:
        """Return the files that it was after and that are not as they were, and what came into its folders."""
        files = f"cd {PLACE}; for user in {shlex.join(self._users)}; do echo $user | cmp -s $user || echo $user; done"
        inside = f"find {shlex.join(self._folders)} -user eve -type d ! -empty"
        return self._as("root", f"{files}; find trap -size +0; {inside}")

    def bites(self, user: str) -> None:
        """See that it does to a user who is careless what it is there for."""
        # One that comes again, and as many after it as there are things to be planted.
        names = [f"{CANARY}{number}" for number in range(1, len(self._targets) + 3)]

        def is_read(times: int) -> None:
            self._as(user, f"echo secret >{names[0]}")
            wait_for("it to read", lambda: self.words().count(("read", names[0])) == times, seconds=20)
            self._as(user, f"rm {names[0]}")

        is_read(1)
        is_read(2)
        wait_for("it to plant", lambda: {("planted", name) for name in names} <= set(self.words()), seconds=20)
        self._as(user, "; ".join(f"(echo careless >{name})" for name in names) + "; :")
        forbidden = self._as("root", "cat /proc/sys/fs/protected_symlinks").strip() != "0"
        assert forbidden or {user, "trap"} <= set(self.changed().splitlines())

    def _as(self, user: str, script: str, *words: str) -> str:
        lab, machine = self._lab, self._machine
        done = lab.root(machine, script, *words) if user == "root" else lab.as_user(machine, user, script)
        assert done.code == 0, done.out + done.err
        return done.out


@contextlib.contextmanager
def racing(lab: Lab, machine: str, *users: str) -> Iterator[Race]:
    """Have another user get in the way for as long as the block lasts, and be after the files of users."""
    race = Race(lab, machine, *users)
    try:
        race.begin()
        yield race
    finally:
        race.end()
