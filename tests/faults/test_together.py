"""Others at work on an account at the same time, two runs or a run and a conda: neither harms the other."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.faults.scene import finished, told
from tests.machines import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.scene import Account


pytestmark = pytest.mark.sampled("faults")


def test_of_two_runs_at_once_none_corrupts_what_the_other_makes(bare: Account) -> None:
    before = bare.home()
    with bare.lab.apart() as other:  # as from two computers
        runs = [bare.start(), type(bare)(other, bare.name).start()]
        done = [finished(run) for run in runs]
    for run in done:
        if run.code:
            told(run, bare.name, code=5)
    assert 0 in [run.code for run in done]
    bare.recovers()
    assert bare.lost(before) == []


# What conda does with an index in its cache, only that it takes longer.
HOLD = """
import fcntl, glob, time
files = [open(name, "r+") for name in glob.glob("miniconda3/pkgs/cache/*.info.json")]
for file in files:
    fcntl.lockf(file, fcntl.LOCK_EX, 1, 21)
time.sleep(600)
"""
NAMED = '{"jupyter_extra_packages": ["bash_kernel!=0.5"]}'  # so that no lock has it, and the index counts


@contextlib.contextmanager
def index_locked(account: Account) -> Iterator[None]:
    """Have another process of the account's user hold conda's lock of the indexes, for as long as the block lasts."""
    account.shell("miniconda3/bin/conda search bash_kernel")  # and there is an index in the cache
    pid = account.shell(f"miniconda3/bin/python -c '{HOLD}' </dev/null >/dev/null 2>&1 & echo $!")
    try:
        wait_for("the lock", lambda: account.root(f"grep ' {pid} .* 21 21$' /proc/locks || :"), seconds=20)
        yield
    finally:
        account.root(f"kill {pid}")


def test_another_conda_with_the_lock_of_the_index_is_waited_for_or_named(account: Account) -> None:
    before = account.home()
    packages = "ls miniconda3/envs/jupyter/conda-meta"
    # From another test, and from this one in a lab that was kept.
    account.shell("rm -f miniconda3/envs/jupyter/conda-meta/bash_kernel-*")
    for lock in (account.lab.directory / "locks").iterdir():
        if "bash_kernel!=0.5" in lock.read_text():
            lock.unlink()
    there = account.shell(packages)
    with index_locked(account):
        refused = account.up("-e", NAMED)
        told(refused, account.name, "nother conda is at work with the package cache of /home/robert/", code=5)
        assert account.shell(packages) == there
        assert account.lost(before) == []
        # The linker asks no index: what the account's lock names can be had meanwhile.
        account.shell("rm miniconda3/envs/jupyter/conda-meta/webcolors-*.json")
        mended = account.up()
        assert mended.code == 0, mended.out + mended.err
        assert account.shell(packages) == there
        run = account.start("-e", NAMED)
        waiting = "find /proc/[0-9]*/fd -lname '*.info.json' 2>/dev/null | cut -d/ -f3 | sort -u | wc -l"
        wait_for("conda to come to the lock", lambda: account.shell(waiting) == "2")
    done = finished(run)
    assert done.code == 0, done.out + done.err
    assert "bash_kernel-" in account.shell(packages)
    account.recovers()
    assert account.lost(before) == []
