"""What befalls the way to a running Jupyter: the same address answers again, and its kernels know what they knew."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.notebook import Notebook
from tests.faults.scene import silence
from tests.machines import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.scene import Account


pytestmark = pytest.mark.sampled("faults")


class Open:
    """An open forward with a kernel that knows something."""

    def __init__(self, account: Account) -> None:
        told: dict[str, Any] = account.connect()
        self.port = int(told["local_port"])
        self.notebook = Notebook(str(told["url"]))
        self.kernel = self.notebook.start_kernel()
        self.notebook.run(self.kernel, "x = 42")
        self._log = account.lab.directory / "state" / "sessions" / f"{account.name}.log"
        self._known = len(self._log.read_text())

    def said(self, words: str) -> Callable[[], bool]:
        """Return the question whether the forward's process has said these words since."""
        return lambda: words in self._log.read_text()[self._known :]

    def knows(self) -> bool:
        """Tell whether the kernel knows it still, asked at the same address."""
        return self.notebook.run(self.kernel, "print(x)") == "42"


@pytest.fixture
def opened(account: Account) -> Iterator[Open]:
    account.nbfleet("disconnect")
    made = Open(account)
    yield made
    if made.notebook.answers():
        made.notebook.end_kernels()


@contextlib.contextmanager
def taken(port: int) -> Iterator[None]:
    """Be another program that listens on a local port, from when it is free until the block ends."""
    with socket.socket() as intruder:
        intruder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        def bound() -> bool:
            with contextlib.suppress(OSError):
                intruder.bind(("127.0.0.1", port))
                return True
            return False

        wait_for("the forward to let its port go", bound)
        intruder.listen()
        yield


@pytest.mark.parametrize("seconds", [45, pytest.param(300, marks=pytest.mark.full)])
def test_a_laptop_that_slept_finds_everything_again_even_if_its_port_was_taken_meanwhile(
    account: Account, opened: Open, seconds: float
) -> None:
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        with silence(account.lab):
            wait_for("the loss to be seen", opened.said("the connection is lost"), seconds=90)
            stack.enter_context(taken(opened.port))
            wait_for("the time to pass", lambda: time.monotonic() - began > seconds, seconds=seconds + 10)
        wait_for("the reason", opened.said(f"local port {opened.port}"), seconds=120)
        assert opened.said(account.name)()
        assert not opened.said("back after")()
    wait_for("the way back", opened.said("back after"), seconds=90)
    assert opened.knows()


def test_a_bastion_that_was_gone_is_the_way_again(account: Account, opened: Open) -> None:
    bastion = account.lab.container("bastion")
    assert account.lab.run("podman", "stop", "--time", "1", bastion).code == 0
    try:
        wait_for("the loss to be seen", opened.said("the connection is lost"), seconds=90)
    finally:
        assert account.lab.run("podman", "--runtime", "runc", "start", bastion).code == 0
    wait_for("the way back", opened.said("back after"), seconds=120)
    assert opened.knows()


def test_a_server_that_is_restarted_answers_at_the_same_address(account: Account, opened: Open) -> None:
    restarted = account.nbfleet("restart")
    assert restarted.code == 0, restarted.out
    wait_for("the answer", opened.notebook.answers)
    assert opened.notebook.kernels() == []
