"""A disk that is full, out of inodes or read-only, at each stage; the home is on a small file system of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.scene import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.scene import Account

FILLER = "filler"
TRY = ("-e", "miniconda_minimum_free_mb=1")  # the user knows better than the check before the download


class Disk:
    """The file system of an account's home."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def mount(self, megabytes: int) -> None:
        """Put the home on a file system of its own."""
        self.account.root(
            'home=/home/$1; mkdir -p /mnt/small && mount -t tmpfs -o "size=$2m,mode=0750" tmpfs /mnt/small\n'
            'chown "$1:" /mnt/small && cp -a "$home/." /mnt/small/ && mount --move /mnt/small "$home"',
            self.account.user,
            str(megabytes),
        )

    def unmount(self) -> None:
        """Give the home back to the machine's disk."""
        self.remount("rw")
        self.leave(None)
        self.account.make_bare()
        self.account.root('cd / && umount -l "/home/$1"', self.account.user)

    def remount(self, options: str) -> None:
        """Change what the file system allows."""
        self.account.root('mount -o "remount,$2" "/home/$1"', self.account.user, options)

    def leave(self, megabytes: int | None) -> None:
        """Fill the disk so that only so much is free; None empties what was filled."""
        self.account.root(f"rm -f {FILLER}")
        if megabytes is not None:
            self.account.root(
                f"free=$(df -Pk . | awk 'NR == 2 {{ print $4 }}')\nhead -c $((free - $1 * 1024))k /dev/zero >{FILLER}",
                str(megabytes),
            )

    def used(self, kind: str) -> int:
        """Return how many kilobytes (-k) or inodes (-i) are used."""
        return int(self.account.root(f"df -P {kind} . | awk 'NR == 2 {{ print $3 }}'"))


@pytest.fixture
def disk(bare: Account) -> Iterator[Disk]:
    made = Disk(bare)
    made.mount(1500)
    yield made
    made.unmount()


def test_whatever_is_full_is_said_and_room_is_all_that_the_next_run_needs(bare: Account, disk: Disk) -> None:
    before = bare.home()
    name = bare.name
    disk.remount("ro")
    told(bare.up(), name, "read-only", code=5)
    disk.remount("rw")
    for free, options, words in [
        (0, (), "MB are free"),
        (2, TRY, "free some space"),  # during the download
        (60, TRY, "free some space"),  # while the installer unpacks
    ]:
        disk.leave(free)
        told(bare.up(*options), name, words, code=5)
        disk.leave(None)
        assert bare.lost(before) == []
    # Conda has its room, and Jupyter's packages have none.
    done = bare.site("--tags", "miniconda")
    assert done.code == 0, done.out
    for free in (5, 100):
        disk.leave(free)
        told(bare.up(), name, "free some space", code=5)
        disk.leave(None)
    disk.remount(f"nr_inodes={disk.used('-i') + 200}")
    told(bare.up(), name, "inodes", code=5)
    disk.remount("nr_inodes=400k")
    bare.recovers()
    assert bare.lost(before) == []
    # A running Jupyter, and no room for the files that have to be put right.
    bare.shell("sed -i '/nbfleet/d' .bashrc && echo '# mine' >>.config/nbfleet/server_config.py")
    bashrc = bare.root("cat .bashrc")
    disk.leave(0)
    bare.root(f"cat /dev/zero >>{FILLER} 2>/dev/null || :")
    told(bare.up(), name, "make room", code=5)
    assert bare.root("cat .bashrc") == bashrc
    disk.leave(None)
    bare.recovers()
    assert bare.lost(before) == []
