"""One conda for all accounts of a machine: installed once, root's own, used by each and left to the last."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machines import Lab, Run

pytestmark = pytest.mark.sampled("worlds")
MACHINE = "node12"
MAX, MIA = "max-node12", "mia-node12"
PREFIX = "/opt/nbfleet/miniconda3"
SHARED = ("-e", "miniconda_scope=machine")


def size(lab: Lab) -> int:
    """Return the kilobytes that the prefix and both homes have on the disk."""
    out = lab.root(MACHINE, "du -skc /opt/nbfleet /home/max /home/mia | tail -n 1").out
    return int(out.split()[0])


@pytest.fixture(scope="module")
def shared(lab: Lab) -> Iterator[tuple[Lab, Run]]:
    """Two bare accounts that were provisioned at once."""
    lab.nbfleet("disconnect", MAX, MIA)
    for user in ("max", "mia"):
        lab.bare(MACHINE, user)
    lab.root(MACHINE, "rm -rf /opt/nbfleet")
    yield lab, lab.playbook("site", "--limit", f"{MAX},{MIA}", "-v", *SHARED)
    lab.playbook("remove", "--limit", f"{MAX},{MIA}", *SHARED)


def test_two_accounts_at_once_install_one_prefix(shared: tuple[Lab, Run]) -> None:
    lab, made = shared
    assert made.code == 0, made.out[-4000:]
    assert made.out.count("installed Miniconda") == 1
    assert lab.root(MACHINE, "ls -d /home/*/miniconda3 | grep -E 'max|mia'").code != 0
    services = "for user in max mia; do systemctl --user --machine=$user@.host is-active nbfleet-jupyter.service; done"
    assert lab.root(MACHINE, services).out.split() == ["active", "active"]
    again = lab.playbook("site", "--limit", f"{MAX},{MIA}", *SHARED)
    assert again.out.count("changed=0") == 2
    assert "Install conda" not in again.out


def test_it_is_root_s_and_nobody_else_can_write(shared: tuple[Lab, Run]) -> None:
    lab, _ = shared
    assert lab.root(MACHINE, f"find {PREFIX} -type f | wc -l").out.strip() != "0"
    assert lab.root(MACHINE, "find /opt/nbfleet ! -user root -o ! -type l -perm /022").out == ""
    assert lab.root(MACHINE, "find /opt/nbfleet ! -type l ! -perm -444 ! -path '*/pkgs/*'").out == ""
    assert lab.on(MIA, f"touch {PREFIX}/mine").code != 0
    assert lab.on(MIA, f"{PREFIX}/bin/conda install -y -p {PREFIX} webcolors").code != 0


def test_what_users_cannot_write_is_compiled_for_them(shared: tuple[Lab, Run]) -> None:
    lab, _ = shared
    imported = lab.said(MIA, f"{PREFIX}/envs/jupyter/bin/python -v -c 'import notebook.app, ipykernel.kernelapp' 2>&1")
    assert "code object from '/opt/" in imported
    assert re.findall(r"code object from (/\S+\.py)$", imported, re.MULTILINE) == []


def test_a_user_makes_environments_of_his_own(shared: tuple[Lab, Run]) -> None:
    lab, _ = shared
    done = lab.on(MIA, f"{PREFIX}/bin/conda create -y -n mine webcolors")
    assert done.code == 0, done.out
    assert lab.root(MACHINE, "stat -c %U /home/mia/.conda/envs/mine/conda-meta/history").out == "mia\n"


def test_a_second_account_costs_no_prefix_and_the_first_one_lives_on(shared: tuple[Lab, Run]) -> None:
    lab, _ = shared
    removed = lab.playbook("remove", "--limit", MIA, *SHARED)
    assert removed.code == 0, removed.out
    assert "stays, because other accounts use it ( max )" in " ".join(removed.out.split())
    assert lab.root(MACHINE, "systemctl --user --machine=max@.host is-active nbfleet-jupyter.service").out == "active\n"
    alone = size(lab)
    second = lab.playbook("site", "--limit", MIA, *SHARED)
    assert second.code == 0, second.out
    assert size(lab) - alone < 2000
    assert "installed Miniconda" not in second.out
    assert re.search(r"Keep Jupyter's environment as it was asked for\] \*+\nok:", second.out), second.out
    assert "changed=0" in lab.playbook("site", "--limit", MAX, *SHARED).out


@pytest.mark.parametrize("playbook", ["upgrade", "rollback"])
def test_no_account_switches_what_is_everybody_s(shared: tuple[Lab, Run], playbook: str) -> None:
    lab, _ = shared
    before = lab.root(MACHINE, f"ls -l {PREFIX}/envs").out
    done = lab.playbook(playbook, "--limit", MAX, *SHARED)
    assert done.code == 2
    assert f"{PREFIX}/envs/jupyter is that of all accounts of the machine" in " ".join(done.out.split())
    assert "changed=0" in done.out
    assert lab.root(MACHINE, f"ls -l {PREFIX}/envs").out == before


def test_a_login_of_one_s_own_is_refused(shared: tuple[Lab, Run]) -> None:
    lab, _ = shared
    done = lab.playbook("site", "--limit", "zoe-node12", *SHARED, "-e", "survey_trust=false")
    assert done.code == 2
    assert "miniconda_scope: machine needs root" in " ".join(done.out.split())
    assert "changed=0" in done.out


def test_the_last_one_takes_the_prefix_away(shared: tuple[Lab, Run]) -> None:
    lab, _ = shared
    done = lab.playbook("remove", "--limit", f"{MAX},{MIA}", *SHARED)
    assert done.code == 0, done.out
    assert lab.root(MACHINE, "test -e /opt/nbfleet").code != 0
    assert lab.root(MACHINE, "test -d /home/mia/.conda/envs/mine").code == 0
