"""What a run costs on accounts that have no work: `python benchmarks/noop.py INVENTORY`.

Every way asks each account the same survey, over live SSH masters, one way after the other in each round, so that a
busy machine disturbs all alike. The raw way is the floor: one ssh per account, all at once, and nothing else.
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import json
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nbfleet.converge import reaches

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfleet.endpoint import Reach

ROOT = Path(__file__).resolve().parent.parent
DEFAULTS = {
    "SURVEY_PREFIX": "@HOME@/miniconda3",
    "SURVEY_RECEIPT": "@HOME@/.local/state/nbfleet/receipt",
    "SURVEY_WANTED": "none",
    "SURVEY_THINGS": "",
    "SURVEY_UNIT": "nbfleet-jupyter.service",
    "SURVEY_LISTENER": "/run/user/@UID@/nbfleet/jupyter.sock",
}


def question() -> str:
    """Return the command that asks an account, as the survey role sends it."""
    script = "".join(f"{key}={shlex.quote(value)}\n" for key, value in DEFAULTS.items())
    script += (ROOT / "roles" / "survey" / "files" / "survey.sh").read_text()
    return f"echo {base64.b64encode(script.encode()).decode()} | base64 -d | sh"


def ask_all(accounts: list[Reach], control: str) -> None:
    """Ask all accounts at once, each by one ssh over its own master."""
    shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={control}/%C", "-o", "ControlPersist=120"]

    def ask(account: Reach) -> None:
        config = ["-F", account.config] if account.config else []
        command = ["ssh", *config, *shared, *account.options, account.host, question()]
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
        if "receipt=yes" not in answer or "listening=yes" not in answer:
            raise SystemExit(f"{account.title} is not converged; run the site playbook first.")

    with concurrent.futures.ThreadPoolExecutor(len(accounts)) as pool:
        list(pool.map(ask, accounts))


def command(*words: str) -> Callable[[], None]:
    """Return a way that runs a command and refuses to measure one that fails."""

    def run() -> None:
        done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True, timeout=900)
        if done.returncode != 0:
            raise SystemExit(f"{shlex.join(words)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    return run


def main() -> None:
    """Measure all ways in turns and print a table, or the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inventory", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    programs = Path(sys.executable).parent
    site = [str(programs / "ansible-playbook"), "-i", str(args.inventory), "playbooks/site.yml", "--forks", "50"]
    accounts = list(reaches(args.inventory, [], environment={}).values())
    with tempfile.TemporaryDirectory(prefix="nbb-") as control:
        ways: dict[str, Callable[[], None]] = {
            "raw parallel ssh": lambda: ask_all(accounts, control),
            "ansible-playbook site.yml": command(*site),
            "nbfleet up": command(sys.executable, "-m", "nbfleet", "up", "-i", str(args.inventory), "-q"),
            "site.yml, survey_trust=false": command(*site, "-e", "survey_trust=false"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(args.rounds + 1):
            for name, way in ways.items():
                began = time.monotonic()
                way()
                if turn > 0:  # the first turn opens the masters
                    seconds[name].append(time.monotonic() - began)
    floor = statistics.median(seconds["raw parallel ssh"])
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    if args.json:
        figures = {"accounts": len(accounts), "python": platform.python_version(), "seconds": seconds}
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    sys.stdout.write(
        f"{len(accounts)} accounts, median of {args.rounds}\n\n| way | seconds | times raw ssh |\n|---|---|---|\n"
    )
    for name, median in medians.items():
        sys.stdout.write(f"| {name} | {median:.2f} | {median / floor:.2f} |\n")


if __name__ == "__main__":
    main()
