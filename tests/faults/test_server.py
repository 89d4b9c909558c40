"""What befalls a running Jupyter on its machine: it is back, or it is said why not, and what ran goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.scene import told, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.notebook import Notebook
    from tests.faults.scene import Account

UNIT = "nbfleet-jupyter.service"
TOKEN = ".config/nbfleet/token"  # noqa: S105 - its place
CONFIG = ".config/nbfleet/server_config.py"


def server(account: Account) -> str:
    """Return the process number of the account's server."""
    return account.shell(f"systemctl --user show -p MainPID --value {UNIT}")


@pytest.fixture
def notebook(account: Account) -> Iterator[Notebook]:
    opened = account.notebook()
    yield opened
    if opened.answers():
        opened.end_kernels()


def test_a_killed_server_comes_back_at_the_same_address(account: Account, notebook: Notebook) -> None:
    before, killed = account.home(), server(account)
    account.root(f"kill -KILL {killed}")
    wait_for("another server", lambda: server(account) not in ("0", killed), seconds=240)
    wait_for("its answer", notebook.answers, seconds=240)
    assert account.lost(before) == []


def test_a_kernel_that_is_killed_as_for_want_of_memory_takes_nothing_with_it(
    account: Account, notebook: Notebook
) -> None:
    lives, dies = notebook.start_kernel(), notebook.start_kernel()
    notebook.run(lives, "x = 42")
    process, pid = server(account), notebook.run(dies, "import os; x = 43; print(os.getpid())")
    account.root(f"kill -KILL {pid}")
    assert notebook.run(lives, "print(x)") == "42"
    wait_for("the kernel to be started anew", lambda: notebook.run(dies, "print('x' in globals())") == "False")
    assert server(account) == process


def test_a_token_file_that_is_none_keeps_the_server_shut(account: Account, notebook: Notebook) -> None:
    assert notebook.answers()
    before = {path: state for path, state in account.home().items() if path != TOKEN}
    for damage in ("echo", ":", "printf x"):  # a newline more, nothing, and too little
        account.shell(f"{damage} {'>>' if damage == 'echo' else '>'}{TOKEN}")
        told(account.nbfleet("restart"), account.name, "token file", f"nbfleet up {account.name}", code=5)
        # Not for an instant does a server answer that takes everybody.
        assert account.shell('test -S "$XDG_RUNTIME_DIR/nbfleet/jupyter.sock" || echo shut') == "shut"
    account.recovers()
    assert account.lost(before) == []


def test_a_configuration_broken_by_hand_is_mended_under_the_running_server(
    account: Account, notebook: Notebook
) -> None:
    kernel = notebook.start_kernel()
    notebook.run(kernel, "x = 42")
    account.shell(f"echo 'c.ServerApp.port = (' >>{CONFIG}")
    mended = account.up()
    assert mended.code == 0, mended.out
    assert notebook.run(kernel, "print(x)") == "42"


def test_a_broken_line_of_the_inventory_is_refused_before_the_running_server_ends(
    account: Account, notebook: Notebook
) -> None:
    kernel = notebook.start_kernel()
    notebook.run(kernel, "x = 42")
    before = account.home()
    refused = account.up("-e", '{"jupyter_service_extra_config": "c.ServerApp.port = ("}')
    told(refused, account.name, "line", "never closed", code=5)
    assert account.lost(before) == []
    assert notebook.run(kernel, "print(x)") == "42"


def test_a_taken_port_is_said_and_the_way_back_is_a_plain_run(account: Account) -> None:
    before = account.home()
    taken = "import socket, time; s = socket.create_server(('127.0.0.1', 8899)); time.sleep(600)"
    other = account.root(f'runuser -u finn -- python3 -c "{taken}" </dev/null >/dev/null 2>&1 & echo $!')
    try:
        refused = account.up("-e", "jupyter_service_listen=tcp jupyter_service_port=8899")
        told(refused, account.name, "port 8899 is not available", code=5)
    finally:
        account.root(f"kill {other}")
    account.recovers()
    assert account.lost(before) == []
