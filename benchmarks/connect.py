"""From a command to the first HTTP 200 through the forward: `python benchmarks/connect.py INVENTORY --limit ACCOUNT`.

The unit is a bare `ssh host true` without a master. The driver is measured cold (no master), over the master that it
left, and cold with the service stopped before, as jupyter-forward always starts a server. The latter needs
conda in the PATH of login shells; that one line is put into the account's .bash_profile for as long as it is measured.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import measure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbfleet.endpoint import Reach

WAIT = 120  # seconds that a way may take until HTTP answers
PROFILE = 'PATH="$HOME/miniconda3/bin:$PATH"'
DRIVER = [sys.executable, "-m", "nbfleet"]


def ssh(account: Reach, script: str) -> str:
    """Run a script on the account over a connection of its own."""
    return measure.ssh(account, script, "-o", "ControlMaster=no", "-o", "ControlPath=none", seconds=60)


def answers(url: str) -> bool:
    """Tell whether a URL gives HTTP 200."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as page:
            return bool(page.status == 200)
    except (OSError, urllib.error.URLError):
        return False


@contextmanager
def running(words: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a program that stays, and interrupt it at the end as a person would."""
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- lives as long as the program
    here = {**os.environ, "PYTHONPATH": str(measure.ROOT / "python_driver"), **environment}
    child = subprocess.Popen(
        words, env=here, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
    )
    try:
        yield child
    except SystemExit as error:
        log.seek(0)
        raise SystemExit(f"{error}\n{log.read()[-2000:]}") from None
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
        log.close()


def ours(name: str, environment: dict[str, str]) -> float:
    """Return the seconds from the driver's start to its URL's HTTP 200."""
    began = time.monotonic()
    with running([*DRIVER, "connect", name, "--no-browser", "--json"], environment) as child:
        said = json.loads((child.stdout.readline() if child.stdout else "") or "{}")
        if said.get("error") or not said.get("data"):
            raise SystemExit(f"nbfleet connect {name} failed: {said.get('error')}")
        url = f"http://127.0.0.1:{said['data']['local_port']}{said['data']['base_url']}api"
        if not answers(url):
            raise SystemExit(f"{url} gives no HTTP 200.")
        return time.monotonic() - began


def theirs(name: str, program: Path, home: Path) -> float:
    """Return the seconds from jupyter-forward's start to HTTP 200 at its local port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(program), name, "--conda-env", "jupyter", "--port", str(port)]
    began = time.monotonic()
    with running(words, {"HOME": str(home), "BROWSER": "true"}) as child:
        while not answers(f"http://127.0.0.1:{port}/api"):
            if child.poll() is not None or time.monotonic() - began > WAIT:
                raise SystemExit(f"jupyter-forward gave no HTTP 200 within {WAIT} s (status {child.poll()}).")
            time.sleep(0.02)  # the grain of the figure; WAIT ends it
        return time.monotonic() - began


def main() -> None:
    """Measure the ways in turns, on the first account of the limit."""
    args = measure.parser(__doc__).parse_args()
    name, account = next(iter(measure.accounts(args.inventory, args.limit).items()))
    program = measure.tool("jupyter-forward", "jupyter-forward==2025.1.16") / "jupyter-forward"
    with tempfile.TemporaryDirectory(prefix="nbb-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        (home / ".ssh").mkdir(mode=0o700)
        measure.flat_config({name: account}, home / ".ssh" / "config")
        environment = {"NBFLEET_STATE_DIR": f"{folder}/state", "XDG_RUNTIME_DIR": f"{folder}/run"}
        Path(environment["XDG_RUNTIME_DIR"]).mkdir(mode=0o700)
        with measure.setup("nbfleet up"):
            measure.run(measure.up(args.inventory, name), environment=environment)

        def drop_masters() -> None:
            for path in [path for path in Path(folder, "run").rglob("*") if path.is_socket()]:
                order = ["ssh", "-F", "none", "-o", f"ControlPath={path}", "-O", "exit", "any"]
                subprocess.run(order, check=False, capture_output=True, timeout=10)

        def cold() -> float:
            drop_masters()
            return ours(name, environment)

        def stopped() -> float:
            drop_masters()
            ssh(account, "systemctl --user stop nbfleet-jupyter.service")
            return ours(name, environment)

        def peer() -> float:
            try:
                return theirs(name, program, home)
            finally:
                ssh(account, "pkill -f '[j]upyter-lab --no-browser' || true")

        def unit() -> None:
            ssh(account, "true")

        ways: dict[str, measure.Way] = {
            "ssh host true": unit,
            "nbfleet connect, cold": cold,
            "nbfleet connect, live master": lambda: ours(name, environment),
            "nbfleet connect, cold, server stopped": stopped,
            "jupyter-forward, starts a server": peer,
        }
        before = ssh(account, "cat .bash_profile 2>/dev/null || true")
        if before:
            raise SystemExit(f"{name} has a .bash_profile of its own; take another account.")
        ssh(account, f"printf '%s\\n' '{PROFILE}' '. ~/.profile' >.bash_profile")
        try:
            seconds = measure.in_turns(ways, args.rounds)
        finally:
            ssh(account, "rm -f .bash_profile; rm -rf .jupyter_forward")
            drop_masters()
    measure.report("connecting to a server", seconds, unit="ssh host true", as_json=args.json, account=name)


if __name__ == "__main__":
    main()
