"""A disk that is full, out of inodes, read-only or over quota, at each stage; the home is on one of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.scene import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.scene import Account

pytestmark = pytest.mark.sampled("faults")
FILLER = "filler"
TRY = ("-e", "miniconda_minimum_free_mb=1")  # the user knows better than the check before the download


MOVE_IN = 'home=/home/$1; chown "$1:" /mnt/small && cp -a "$home/." /mnt/small/ && mount --move /mnt/small "$home"'


def move_out(account: Account) -> None:
    """Give the home back to the machine's disk."""
    account.make_bare()
    account.root('cd / && umount -l "/home/$1"', account.user)


class Disk:
    """The file system of an account's home."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def mount(self, megabytes: int) -> None:
        """Put the home on a file system of its own."""
        make = 'mkdir -p /mnt/small && mount -t tmpfs -o "size=$2m,mode=0750" tmpfs /mnt/small'
        self.account.root(f"{make}\n{MOVE_IN}", self.account.user, str(megabytes))

    def unmount(self) -> None:
        """Give the home back to the machine's disk."""
        self.remount("rw")
        self.leave(None)
        move_out(self.account)

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


class Quota:
    """A home on a large file system of which it may have a part: a subvolume of a btrfs, as this kernel knows it."""

    def __init__(self, account: Account, folder: Path) -> None:
        self.account = account
        self._volume = folder / "volume"  # the same file system, on this computer
        self._image = folder / "image"

    def mount(self) -> None:
        """Make the file system and put the home on it."""
        with self._image.open("wb") as image:
            image.truncate(4 << 30)
        self._volume.mkdir()
        self._run("mkfs.btrfs", "-q", str(self._image))
        self._run("mount", "-o", "loop", str(self._image), str(self._volume))
        self._run("btrfs", "quota", "enable", str(self._volume))
        self._run("btrfs", "subvolume", "create", str(self._volume / "home"))
        device = self._run("findmnt", "-n", "-o", "SOURCE", str(self._volume)).partition("[")[0]
        number = device.removeprefix("/dev/loop")
        # A container may neither make the device nor open it; whoever comes in from outside may.
        pid = self.account.lab.pid(self.account.machine)
        make = f"mknod /dev/small b 7 {number} && mkdir -p /mnt/small"
        mount = "mount -t btrfs -o subvol=home /dev/small /mnt/small && chmod 0750 /mnt/small"
        self._run("nsenter", "-t", pid, "-m", "sh", "-c", f"{make} && {mount}; rm /dev/small")
        self.account.root(MOVE_IN, self.account.user)

    def unmount(self) -> None:
        """Give the home back to the machine's disk."""
        self.allow(None)
        move_out(self.account)
        self._run("umount", str(self._volume))

    def allow(self, more: int | None) -> None:
        """Let the home grow by so many megabytes and no further; None: as it likes."""
        volume, home = str(self._volume), str(self._volume / "home")
        self._run("btrfs", "filesystem", "sync", volume)
        used = int(self._run("btrfs", "qgroup", "show", "--raw", "-f", home).split()[-2])
        # Told of the home itself, a used up quota would leave no room for its own change.
        group = f"0/{self._run('btrfs', 'inspect-internal', 'rootid', home)}"
        self._run("btrfs", "qgroup", "limit", "none" if more is None else str(used + (more << 20)), group, volume)

    def _run(self, *command: str) -> str:
        done = self.account.lab.run(*command, limit=60)
        assert done.code == 0, done.err
        return done.out.strip()


@pytest.fixture
def quota(bare: Account, tmp_path: Path) -> Iterator[Quota]:
    if "btrfs" not in Path("/proc/filesystems").read_text():
        pytest.skip("this kernel has no btrfs")
    made = Quota(bare, tmp_path)
    made.mount()
    yield made
    made.unmount()


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


def test_a_quota_that_is_used_up_is_said_and_room_is_all_that_the_next_run_needs(bare: Account, quota: Quota) -> None:
    before = bare.home()
    for more in (3, 60):  # during the download, and while the installer unpacks
        quota.allow(more)
        told(bare.up(), bare.name, "quota", code=5)
        quota.allow(None)
        assert bare.lost(before) == []
    # Conda has its room, and Jupyter's packages have none.
    done = bare.site("--tags", "miniconda")
    assert done.code == 0, done.out
    quota.allow(20)
    told(bare.up(), bare.name, "quota", code=5)
    quota.allow(None)
    bare.recovers()
    assert bare.lost(before) == []
    # A running Jupyter, and no room for the files that have to be put right.
    bare.shell("sed -i '/nbfleet/d' .bashrc && echo '# mine' >>.config/nbfleet/server_config.py")
    bashrc = bare.root("cat .bashrc")
    quota.allow(0)
    told(bare.up(), bare.name, "quota", code=5)
    assert bare.root("cat .bashrc") == bashrc
    quota.allow(None)
    bare.recovers()
    assert bare.lost(before) == []
