"""What befalls a running Jupyter on its machine: it is back, or it is said why not, and what ran goes on."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.clock import clock_library
from tests.faults.scene import told
from tests.machines import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.notebook import Notebook
    from tests.faults.scene import Account

pytestmark = pytest.mark.sampled("faults")
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


@contextlib.contextmanager
def little_memory(account: Account) -> Iterator[int]:
    """Leave the account's machine about 300 MB more than it uses, for as long as the block lasts; gives all its MB."""
    used = account.root("awk '/^VmRSS/ { n += $2 } END { print int(n / 1024) }' /proc/[0-9]*/status")
    everything = int(Path("/proc/meminfo").read_text().split()[1]) // 1024

    def allow(megabytes: int) -> None:
        limits = [f"--memory={megabytes}m", f"--memory-swap={megabytes}m"]
        done = account.lab.run("podman", "--runtime", "runc", "update", *limits, account.lab.container(account.machine))
        assert done.code == 0, done.err

    allow(int(used) + 300)
    try:
        yield int(used) + 300
    finally:
        allow(everything)


def test_a_kernel_that_takes_all_memory_is_ended_and_takes_nothing_with_it(
    account: Account, notebook: Notebook
) -> None:
    lives, dies = notebook.start_kernel(), notebook.start_kernel()
    notebook.run(lives, "x = 42")
    process, pid = server(account), notebook.run(dies, "import os; x = 43; print(os.getpid())")
    with little_memory(account) as megabytes:
        notebook.send(dies, f"hoard = bytearray({megabytes} << 20)")
        wait_for("the kernel's end", lambda: account.root(f"ls -d /proc/{pid} 2>/dev/null || :") == "")
    # A machine that is out of memory may be too slow for the forward, which comes back of itself.
    wait_for("the forward", notebook.answers)
    assert notebook.run(lives, "print(x)") == "42"
    wait_for("the kernel to be started anew", lambda: notebook.run(dies, "print('x' in globals())") == "False")
    assert server(account) == process


def test_logging_out_everywhere_ends_nothing(account: Account) -> None:
    notebook = account.notebook()
    kernel = notebook.start_kernel()
    notebook.run(kernel, "x = 42")
    process = server(account)
    account.lab.prepared(account.machine, "log_out.sh", account.user)
    assert server(account) == process
    # The forward was a login, too, and comes back of itself.
    wait_for("the forward", notebook.answers)
    assert notebook.run(kernel, "print(x)") == "42"
    notebook.end_kernels()


@pytest.fixture
def clock(account: Account, tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """Give Jupyter a clock of its own, which can be put forward and back under it by seconds."""
    library, offset, folder = ".clock.so", ".clock", f".config/systemd/user/{UNIT}.d"

    def jump(seconds: int) -> None:
        account.shell(f"echo {seconds} >{offset}")

    jump(0)
    account.shell(f"""
echo {clock_library(account.lab, tmp_path)} | base64 -d >{library}
mkdir {folder}
printf '[Service]\\nEnvironment=%s\\n' "LD_PRELOAD=$PWD/{library} CLOCK_OFFSET=$PWD/{offset}" >{folder}/clock.conf
systemctl --user daemon-reload
""")
    yield jump
    account.shell(f"rm -r {folder} {library} {offset}; systemctl --user daemon-reload")
    restarted = account.nbfleet("restart")
    assert restarted.code == 0, restarted.out


def test_a_clock_that_jumps_ends_nothing(account: Account, clock: Callable[[int], None]) -> None:
    restarted = account.nbfleet("restart")
    assert restarted.code == 0, restarted.out
    notebook = account.notebook()
    kernel = notebook.start_kernel()
    notebook.run(kernel, "import time; x = 42")
    process = server(account)
    for days in (400, -400):
        clock(days * 86400)
        assert notebook.run(kernel, f"print(x, round((time.time() - {time.time()}) / 86400))") == f"42 {days}"
        account.nbfleet("disconnect")
        notebook = account.notebook()
        assert notebook.kernels() == [kernel]
    assert server(account) == process


def test_a_taken_socket_is_said_and_the_way_back_is_a_plain_run(account: Account) -> None:
    before = account.home()
    taken = "import socket, sys, time; s = socket.socket(1); s.bind(sys.argv[1]); s.listen(); time.sleep(600)"
    other = account.shell(f"""
systemctl --user stop {UNIT}
cd "$XDG_RUNTIME_DIR" && mkdir -p -m 0700 nbfleet
python3 -c '{taken}' nbfleet/jupyter.sock </dev/null >/dev/null 2>&1 & echo $!
""")
    try:
        told(account.up(), account.name, "another program listens at /run/user/", "/nbfleet/jupyter.sock", code=5)
    finally:
        account.root(f"kill {other}")
    account.recovers()
    assert account.lost(before) == []


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


def test_a_restart_that_would_end_at_a_broken_configuration_is_refused(account: Account, notebook: Notebook) -> None:
    kernel = notebook.start_kernel()
    notebook.run(kernel, "x = 42")
    process = server(account)
    line = account.shell(f"echo 'c.ServerApp.port = (' >>{CONFIG}; wc -l <{CONFIG}")
    before = account.home()
    said = f"Jupyter was not restarted: /home/robert/{CONFIG} has a mistake in its line {line} ('(' was never closed"
    for words in ((), ("--new-token", "-i", str(account.lab.inventory))):
        told(account.nbfleet("restart", *words), account.name, said, "nbfleet up", "writes it anew", code=5)
        assert account.lost(before) == []
        assert server(account) == process
    assert notebook.run(kernel, "print(x)") == "42"
    account.recovers()
    assert notebook.run(kernel, "print(x)") == "42"
    restarted = account.nbfleet("restart")
    assert restarted.code == 0, restarted.out
    assert notebook.kernels() == []


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
