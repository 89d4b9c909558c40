"""A run that is broken off in the middle: the next plain one finishes it, and nothing of the user's is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults.scene import finished, silence, told
from tests.machines import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.scene import Account

pytestmark = pytest.mark.sampled("faults")
# What is seen on the account's machine while a stage lasts: words in the command line of a process of its user.
INSTALLER = "Miniconda3-.*[.]sh -b"
LINKING = "bin/python -I -$|/bin/conda (create|install)"
STARTING = "systemctl --user (start|restart)"
PLAIN = "survey_trust=false"  # nothing is believed, so every stage is gone through


def at(account: Account, stage: str) -> Callable[[], bool]:
    """Return the question whether a stage is under way on the account."""
    return lambda: bool(account.root(f"pgrep -u {account.user} -f '{stage}' || :"))


def hang_up(account: Account) -> None:
    """End all SSH connections of the account's user, as its machine would."""
    account.root(f"pkill -KILL -u {account.user} -x sshd || :")


@pytest.mark.parametrize("stage", [INSTALLER, LINKING, STARTING], ids=["installer", "packages", "start"])
def test_ssh_that_is_cut_on_the_machine_is_told_or_overcome(bare: Account, stage: str) -> None:
    before = bare.home()
    run = bare.start()
    wait_for("the stage", at(bare, stage), seconds=240)
    hang_up(bare)
    done = finished(run)
    if done.code:
        told(done, bare.name, code=4)
    bare.recovers()
    assert bare.lost(before) == []


def test_a_controller_that_is_killed_at_every_stage_leaves_what_the_next_run_finishes(bare: Account) -> None:
    before = bare.home()
    for stage in (INSTALLER, LINKING, STARTING):
        run = bare.start()
        wait_for("the stage", at(bare, stage), seconds=240)
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate(timeout=60)
    bare.recovers()
    assert bare.lost(before) == []


@pytest.mark.full
def test_a_network_that_is_gone_for_a_minute_is_waited_for_or_told(bare: Account) -> None:
    before = bare.home()
    run = bare.start()
    wait_for("the installer", at(bare, INSTALLER), seconds=240)
    with silence(bare.lab), contextlib.suppress(AssertionError):
        wait_for("a minute to pass", lambda: run.poll() is not None, seconds=60)
    done = finished(run)
    if done.code:
        told(done, bare.name, code=4)
    bare.recovers()
    assert bare.lost(before) == []


@pytest.mark.full
def test_a_bastion_that_restarts_in_the_middle_is_told_or_overcome(bare: Account) -> None:
    before = bare.home()
    run = bare.start()
    wait_for("the installer", at(bare, INSTALLER), seconds=240)
    restarted = bare.lab.run("podman", "--runtime", "runc", "restart", "--time", "1", bare.lab.container("bastion"))
    assert restarted.code == 0, restarted.err
    done = finished(run)
    if done.code:
        told(done, bare.name, code=4)
    bare.recovers()
    assert bare.lost(before) == []


def kill(account: Account, victim: str, seconds: float) -> None:
    """Break a run off after some seconds, on this side or on the other."""
    run = account.start("-e", PLAIN)
    with contextlib.suppress(AssertionError):
        wait_for("the moment", lambda: run.poll() is not None, seconds=seconds)
    if victim == "ssh":
        hang_up(account)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    run.communicate(timeout=400)


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=[pytest.mark.full, pytest.mark.timeout(7200)])])
def test_kills_at_any_moment_are_recovered_from(bare: Account, kills: int) -> None:
    chance = random.Random(os.environ["NBFLEET_SEED"])  # noqa: S311 - for a repeatable choice
    before = bare.home()
    for _ in range(kills):
        victim, seconds = chance.choice(["controller", "ssh"]), chance.uniform(1, 25)
        print(f"{victim} after {seconds:.1f} s")  # noqa: T201
        kill(bare, victim, seconds)
        assert bare.lost(before) == []
        bare.recovers()
        assert bare.lost(before) == []
        if chance.random() < 0.7:
            bare.make_bare()
            before = bare.home()
