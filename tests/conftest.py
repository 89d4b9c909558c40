"""The lab, once for the whole session, and what tests need of it."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.machines import ROOT, Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LAB_DIRECTORY = ROOT / ".lab" / "test"

# Under nohup it is ignored, and every program hands that on to those it starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know --full and --soak."""
    parser.addoption("--full", action="store_true", help="also run what takes too long for every day (marked `full`)")
    parser.addoption("--soak", type=float, metavar="MINUTES", help="how long tests/faults/soak.py lasts")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `full`, unless asked for."""
    if not config.getoption("--full"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("full")])
        items[:] = [item for item in items if not item.get_closest_marker("full")]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab of the tests; NBFLEET_KEEP_LAB=1 leaves it running for the next session."""
    environment = os.environ | {
        "NBFLEET_LAB": "test",
        "NBFLEET_LAB_DIR": str(LAB_DIRECTORY),
        "NBFLEET_STATE_DIR": str(LAB_DIRECTORY / "state"),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(LAB_DIRECTORY / "molecule"),
        "ANSIBLE_FORCE_COLOR": "0",
        "NO_COLOR": "1",
    }
    lab = Lab(LAB_DIRECTORY, environment)
    created = lab.run("ansible-playbook", "molecule/shared/create.yml")
    assert created.code == 0, created.out + created.err
    yield lab
    if not os.environ.get("NBFLEET_KEEP_LAB"):
        lab.nbfleet("disconnect")
        destroyed = lab.run("ansible-playbook", "molecule/shared/destroy.yml")
        shutil.rmtree(LAB_DIRECTORY, ignore_errors=True)
        assert destroyed.code == 0, destroyed.out + destroyed.err


@pytest.fixture(scope="session")
def provisioned(lab: Lab) -> Lab:
    """The lab with both nodes' account `robert` provisioned by the driver."""
    done = lab.nbfleet("up", "-i", str(lab.inventory), "robert-node12", "robert-node13", "--json")
    assert done.code == 0, done.out + done.err
    return lab


@pytest.fixture(scope="session")
def connect(provisioned: Lab) -> Callable[[str], dict[str, Any]]:
    """Open a forward in the background and return what the driver says of it."""

    def open_forward(account: str) -> dict[str, Any]:
        done = provisioned.nbfleet("connect", account, "--background", "--no-browser", "--json")
        assert done.code == 0, done.out + done.err
        opened: dict[str, Any] = done.answer["data"]
        return opened

    return open_forward
