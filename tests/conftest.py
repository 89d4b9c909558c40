"""The lab, once for the whole session, and what tests need of it."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.machines import made_lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext

    from tests.machines import Lab

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
CHROMIUM += ["--disable-component-update", "--disable-sync"]

# How many of each family (`sampled`) a run takes, so that it ends within the hour on two cores.
SAMPLE = {"worlds": 5, "strict sshd": 4, "faults": 4, "channel": 1, "scenarios": 3, "stand-in": 2}

# Under nohup it is ignored, and every program hands that on to those it starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know --full and --soak."""
    parser.addoption("--full", action="store_true", help="also run what takes too long for every day (marked `full`)")
    parser.addoption("--soak", type=float, metavar="MINUTES", help="how long tests/faults/soak.py lasts")


def pytest_configure() -> None:
    """Have a seed for what is left to chance, the same one for all workers, which get it with the environment."""
    os.environ.setdefault("NBFLEET_SEED", str(random.randrange(1 << 32)))  # noqa: S311 - for a repeatable choice


def pytest_report_header() -> str:
    """Say how to have the same choice again."""
    return f"NBFLEET_SEED={os.environ['NBFLEET_SEED']}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `full`, and what the seed does not choose of what is marked `sampled`."""
    if config.getoption("--full"):
        return
    left_out = {item for item in items if item.get_closest_marker("full")} | not_chosen(items)
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


def not_chosen(items: list[pytest.Item]) -> set[pytest.Item]:
    """Return the tests of each family beyond those that the seed chooses: of a file that is marked all go together."""
    families: dict[str, dict[str, list[pytest.Item]]] = {}
    for item in items:
        for node, marker in item.iter_markers_with_node("sampled"):
            families.setdefault(marker.args[0], {}).setdefault(node.nodeid, []).append(item)
    found: set[pytest.Item] = set()
    for family, members in families.items():
        chance = random.Random(f"{os.environ['NBFLEET_SEED']} {family}")  # noqa: S311 - for a repeatable choice
        chosen = chance.sample(sorted(members), min(SAMPLE[family], len(members)))
        found.update(item for member, its in members.items() if member not in chosen for item in its)
    return found


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab of this worker's tests; NBFLEET_KEEP_LAB=1 leaves it running for the next session."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    with made_lab("test" if number == "0" else f"test{number}") as lab:
        yield lab


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


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without a past."""
    context = browser.new_context(accept_downloads=True, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    yield context
    context.close()
