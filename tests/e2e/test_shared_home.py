"""One home for two machines, here a folder that both of them mount: one conda, and a Jupyter for each."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import pytest
from accounts import told

from tests.faults.notebook import Notebook
from tests.machines import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machines import Lab, Run

pytestmark = pytest.mark.sampled("worlds")
MACHINES = ("node12", "node13")
ACCOUNTS = ("nils-node12", "nils-node13")
BOTH = ",".join(ACCOUNTS)
HISTORY = "print(get_ipython().history_manager.hist_file)"


def units(lab: Lab, machine: str) -> dict[str, str]:
    """Return the account's units of ours on a machine, each with its state."""
    asked = "systemctl --user --machine=nils@.host list-units --all --plain --no-legend 'nbfleet-jupyter*'"
    lines = [line.split() for line in lab.root(machine, asked).out.splitlines()]
    return {words[0]: words[2] for words in lines}


def answers(lab: Lab, account: str) -> bool:
    """Say whether an account's server answers."""
    return told(lab, account)["answers"] is True


@pytest.fixture(scope="module")
def first(lab: Lab) -> Iterator[Run]:
    """A bare home, and the run that comes to it from both machines at once."""
    for machine in MACHINES:
        lab.bare(machine, "nils")
    yield lab.playbook("site", "--limit", BOTH, "-v")
    lab.playbook("remove", "--limit", BOTH)


@pytest.fixture(scope="module")
def homes(lab: Lab, first: Run) -> Lab:
    """Both machines' Jupyter, whoever came first."""
    # The second machine is known by now, if the first run told it to come again.
    assert first.out
    done = lab.nbfleet("up", "-i", str(lab.inventory), *ACCOUNTS)
    assert done.code == 0, done.out[-4000:] + done.err
    return lab


def test_conda_is_installed_once_and_who_came_second_is_done_or_told_to_come_again(lab: Lab, first: Run) -> None:
    said = " ".join(first.out.split())
    assert said.count("installed Miniconda") == 1
    if first.code:
        came_second = r"says that node1[23], which has this home, too, was first; nothing of it was changed"
        assert re.search(came_second, said), first.out
        assert len(re.findall(r"failed=[1-9]", said)) == 1
    assert lab.root("node12", "touch /home/nils/seen").code == 0
    assert lab.root("node13", "rm /home/nils/seen").code == 0


def test_each_machine_has_its_own_and_a_second_run_changes_nothing(homes: Lab) -> None:
    lab = homes
    lab.playbook("site", "--limit", BOTH)  # the environment got its second machine's file after the first one's receipt
    again = lab.playbook("site", "--limit", BOTH)
    assert again.out.count("changed=0") == 2, again.out
    assert "Install conda" not in again.out
    tokens = lab.root("node12", "cat /home/nils/.config/nbfleet*/token").out
    assert len(tokens) == 128
    assert tokens[:64] != tokens[64:]
    assert lab.root("node12", "stat -c %a /home/nils/.config/nbfleet*/token").out.split() == ["600", "600"]
    running = [unit for machine in MACHINES for unit, state in units(lab, machine).items() if state == "active"]
    assert len(set(running)) == len(running) == 2


def test_the_doctor_tells_each_machine_that_it_is_not_alone(homes: Lab) -> None:
    looked = homes.nbfleet("doctor", "-i", str(homes.inventory), *ACCOUNTS, "--json")
    assert looked.code == 0, looked.out + looked.err
    accounts = looked.answer["data"]["accounts"]
    said = [line for account in accounts for line in account["checks"] if line["check"] == "home"]
    assert [line["level"] for line in said] == ["warn", "warn"]
    told = sorted(line["says"].partition(" is of many machines: ")[2] for line in said)
    assert told[0] == "this one was first, 1 other has its own names"
    assert re.fullmatch("what is this one's own has names ending in -node1[23]", told[1])


def test_both_are_open_at_once_and_have_histories_that_cannot_lock_each_other(homes: Lab) -> None:
    files = set()
    for account in ACCOUNTS:
        done = homes.nbfleet("connect", account, "--background", "--no-browser", "--json")
        assert done.code == 0, done.out + done.err
        assert account in done.answer["data"]["url"]
        notebook = Notebook(str(done.answer["data"]["url"]))
        files.add(notebook.run(notebook.start_kernel(), HISTORY).strip())
    names = {"history-node12.sqlite", "history-node13.sqlite"}
    assert files == {f"/home/nils/.ipython/profile_default/{name}" for name in names}


def test_at_a_start_of_the_machine_each_starts_its_own_alone(homes: Lab) -> None:
    before = {
        machine: {unit for unit, state in units(homes, machine).items() if state == "active"} for machine in MACHINES
    }
    for machine in MACHINES:
        assert homes.root(machine, "systemctl restart user@$(id -u nils).service").code == 0
    for account in ACCOUNTS:
        wait_for(f"{account} to answer", partial(answers, homes, account))
    for machine in MACHINES:
        found = units(homes, machine)
        assert {unit for unit, state in found.items() if state == "active"} == before[machine]
        assert [unit for unit, state in found.items() if state == "failed"] == []


def test_what_is_removed_for_one_machine_stays_for_the_other_until_the_last(homes: Lab) -> None:
    lab = homes
    gone = lab.playbook("remove", "--limit", ACCOUNTS[0])
    assert gone.code == 0, gone.out
    assert "Other machines have their Jupyter in /home/nils, too" in " ".join(gone.out.split())
    assert told(lab, ACCOUNTS[1])["answers"] is True
    assert "changed=0" in lab.playbook("site", "--limit", ACCOUNTS[1]).out
    last = lab.playbook("remove", "--limit", BOTH)
    assert last.code == 0, last.out
    left = lab.root(
        "node12", "cd /home/nils && ls -A && ls -A .config .local 2>/dev/null; diff .bashrc /etc/skel/.bashrc"
    )
    assert left.code == 0, left.out
    assert "miniconda3" not in left.out
    assert "nbfleet" not in left.out
    for machine in MACHINES:
        assert lab.root(machine, "test -e /var/lib/systemd/linger/nils").code == 1
