"""When an upgrade switches, and what keeps it from that: kernels that compute, and Jupyters that do not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from accounts import JupyterLock

from tests.faults.scene import Account, finished, told
from tests.machines import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.notebook import Notebook
    from tests.machines import Lab, Run

pytestmark = pytest.mark.sampled("worlds")
NAME = "robert-node12"
DONE = ".done"  # a busy kernel's file, for which it waits
BUSY = f"import os, time\nwhile not os.path.exists(os.path.expanduser('~/{DONE}')): time.sleep(0.1)"


@pytest.fixture(scope="module")
def lock(provisioned: Lab) -> Iterator[JupyterLock]:
    """The lock of the account's environment, which an upgrade brings back at the end."""
    lock = JupyterLock(provisioned)
    yield lock
    lock.restore()
    back = upgrade(Account(provisioned, NAME), "--when", "now")
    assert back.code == 0, back.out


@pytest.fixture
def account(provisioned: Lab) -> Iterator[Account]:
    account = Account(provisioned, NAME)
    account.shell(f"rm -f {DONE}")
    yield account
    account.shell(f"touch {DONE}")  # whatever computes ends


@pytest.fixture
def notebook(account: Account) -> Notebook:
    return account.notebook()


def upgrade(account: Account, *words: str) -> Run:
    return account.nbfleet("upgrade", "-i", str(account.lab.inventory), *words)


def rollback(account: Account, *words: str) -> Run:
    return account.nbfleet("rollback", "-i", str(account.lab.inventory), *words)


def counts(account: Account) -> str:
    """Return the environment that counts."""
    return account.shell("readlink -f miniconda3/envs/jupyter")


def runs(account: Account) -> tuple[str, str]:
    """Return the environment that the server runs from, and the server's process number."""
    # The trial's own has more words, and ends.
    pid = account.shell(f"pgrep -u {account.user} -f 'bin/jupyter-notebook --config=[^ ]*$'")
    return account.shell(f"readlink /proc/{pid}/exe").rpartition("/bin/")[0], pid


def keep_busy(notebook: Notebook) -> str:
    """Start a kernel that computes until the test says done, and return its id."""
    kernel = notebook.start_kernel()
    notebook.send(kernel, BUSY)
    wait_for("a busy kernel", lambda: notebook.ask("GET", f"api/kernels/{kernel}")["execution_state"] == "busy")
    return kernel


# Without the first the server knows no kernel; without the second, which the kernel alone imports, it starts and dies.
@pytest.mark.parametrize(
    ("package", "why"),
    [
        pytest.param("ipykernel", "to POST api/kernels", marks=pytest.mark.full),
        ("comm", "No module named 'comm'"),
    ],
)
def test_a_jupyter_whose_kernel_does_not_compute_is_refused(
    account: Account, lock: JupyterLock, package: str, why: str
) -> None:
    lock.without(package)
    before = counts(account), runs(account), account.shell("ls miniconda3/envs")
    refused = upgrade(account, "-e", "jupyter_service_start_timeout=30")
    told(refused, NAME, "does not work", why, "look at the packages of the new lock", code=5)
    assert (counts(account), runs(account), account.shell("ls miniconda3/envs")) == before


def test_a_kernel_that_becomes_idle_in_time_is_waited_for(
    account: Account, lock: JupyterLock, notebook: Notebook
) -> None:
    lock.without("webcolors")
    notebook.start_kernel()  # nobody speaks to this one, and nobody waits for it
    keep_busy(notebook)
    before = counts(account), runs(account)
    words = ["-i", str(account.lab.inventory), NAME, "--json", "-e", "jupyter_service_idle_wait=120"]
    running = account.lab.start("upgrade", *words)
    wait_for("the wait for an idle kernel", lambda: account.root("pgrep -f '[W]ait until no kernel' || :"), seconds=300)
    assert (counts(account), runs(account)) == before
    account.shell(f"touch {DONE}")
    done = finished(running)
    assert done.code == 0, done.out
    assert counts(account) == runs(account)[0] != before[0]


def test_the_way_back_waits_for_kernels_too_and_takes_seconds(account: Account, notebook: Notebook) -> None:
    keep_busy(notebook)
    before = counts(account), runs(account)
    told(rollback(account, "-e", "jupyter_service_idle_wait=1"), NAME, "is busy, so nothing was switched", code=5)
    assert (counts(account), runs(account)) == before
    began = time.monotonic()
    back = rollback(account, "--when", "now")
    seconds = time.monotonic() - began
    assert back.code == 0, back.out
    assert counts(account) == runs(account)[0] != before[0]
    assert seconds < 60, f"the way back took {seconds:.1f} s"


def test_what_fails_after_the_switch_leads_back(account: Account, lock: JupyterLock, notebook: Notebook) -> None:
    lock.without("webcolors")
    before = counts(account)
    # The configuration comes with the switch, and needs what the new environment lacks and the former one has.
    needs = '{"jupyter_service_extra_config": "import webcolors"}'
    failed = upgrade(account, "-e", needs)
    told(failed, NAME, "Jupyter did not start", "The account is back at its former environment", code=5)
    assert counts(account) == runs(account)[0] == before
    assert notebook.run(notebook.start_kernel(), "print(6 * 7)") == "42"
    # A plain run brings the inventory's configuration back, and not the lock that failed.
    account.recovers()
    assert counts(account) == before


def test_now_waits_for_no_kernel(account: Account, lock: JupyterLock, notebook: Notebook) -> None:
    lock.without("webcolors")
    keep_busy(notebook)
    before = counts(account)
    done = upgrade(account, "--when", "now")
    assert done.code == 0, done.out
    assert counts(account) == runs(account)[0] != before
    assert notebook.kernels() == []


@pytest.mark.full  # it makes an account of its own
def test_without_systemd_it_is_tried_and_switched_as_well(provisioned: Lab, lock: JupyterLock) -> None:
    account = Account(provisioned, "rita-plain13")
    account.make_bare()
    lock.restore()
    made = account.up()
    assert made.code == 0, made.out
    before = runs(account)
    lock.without("comm")
    refused = upgrade(account, "-e", "jupyter_service_start_timeout=30")
    told(refused, account.name, "does not work", code=5)
    assert runs(account) == before
    lock.without("webcolors")
    done = upgrade(account)
    assert done.code == 0, done.out
    assert counts(account) == runs(account)[0] != before[0]
    notebook = account.notebook()
    assert notebook.run(notebook.start_kernel(), "print(6 * 7)") == "42"
    # Without a unit, whose end would be theirs, the trials took away what they made.
    assert "trial" not in account.shell("ls /tmp/nbfleet-run-`id -u`")
    assert "trial" not in account.shell("ps -u `id -u` -o args=")
    back = rollback(account, "--when", "now")
    assert back.code == 0, back.out
    assert runs(account)[0] == before[0]
    removed = account.nbfleet("remove", "--yes")
    assert removed.code == 0, removed.out
