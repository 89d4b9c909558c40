"""What the benchmarks share: ways that take turns, and figures that say on what machine they were taken."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbfleet.converge import reaches
from nbfleet.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from nbfleet.endpoint import Reach

    Way = Callable[[], float | None]  # returns its own seconds, or None: then the whole call counts

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
COLD = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no -o ControlPath=none"}


def parser(doc: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark takes: inventory, --limit, --rounds, --json."""
    result = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("inventory", type=Path)
    result.add_argument("--limit", default="all", help="the accounts, as for ansible-playbook")
    result.add_argument("--rounds", type=int, default=rounds)
    result.add_argument("--json", action="store_true", help="print the figures as JSON")
    return result


def accounts(inventory: Path, limit: str) -> dict[str, Reach]:
    """Return how the accounts are reached, in the order of their names."""
    found = reaches(inventory, Options(names=limit.split(",")))
    if not found:
        raise SystemExit(f"No account of {inventory} matches {limit}.")
    return dict(sorted(found.items()))


def site(inventory: Path, limit: str, *words: str, playbook: Path | str = "playbooks/site.yml") -> list[str]:
    """Return the words of a plain ansible-playbook on as many accounts at once as the driver takes."""
    command = [str(PROGRAMS / "ansible-playbook"), "-i", str(inventory), "--limit", limit, str(playbook)]
    return [*command, "--forks", "50", *words]


def up(inventory: Path, limit: str, *words: str) -> list[str]:
    """Return the words of the driver on the same accounts."""
    return [sys.executable, "-m", "nbfleet", "up", "-i", str(inventory), "-q", *words, *limit.split(",")]


def run(words: list[str], *, environment: Mapping[str, str] | None = None, seconds: float = 1800) -> str:
    """Run a command and return what it printed; one that fails or does not end is not measured."""
    # On a busy machine fifty logins at once can take longer than the 10 s that Ansible gives them.
    ours = {"PYTHONPATH": str(ROOT / "python_driver"), "ANSIBLE_TIMEOUT": "60"}
    here = {**os.environ, **ours, **(environment or {})}
    try:
        done = subprocess.run(
            words,
            cwd=ROOT,
            env=here,
            check=False,
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{shlex.join(words)[:200]} did not end within {seconds:.0f} s.") from None
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(words)[:200]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def ssh(account: Reach, script: str, *options: str, seconds: float = 300) -> str:
    """Run a script on an account by ssh, with further options, and return what it printed."""
    config = ["-F", account.config] if account.config else []
    return run(["ssh", *config, *options, *account.options, account.host, script], seconds=seconds)


def command(words: list[str], **how: Any) -> Way:  # noqa: ANN401 -- what run() takes
    """Return the way that runs a command."""

    def way() -> None:
        run(words, **how)

    return way


def in_turns(
    ways: Mapping[str, Way], rounds: int, *, warm: bool = True, once: Collection[str] = ()
) -> dict[str, list[float]]:
    """Measure every way once a round, so that a busy machine disturbs all alike; Ctrl-C ends with what is there.

    Args:
        ways: What to measure, by the name that the table shows.
        rounds: How often.
        warm: Whether a first round is not counted: it opens masters and fills caches.
        once: Ways that take part in one round only, as they take very long.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    try:
        for turn in range(rounds + warm):
            for name, way in ways.items():
                if name in once and turn != warm:
                    continue
                began = time.monotonic()
                own = way()
                took = time.monotonic() - began if own is None else own
                sys.stderr.write(f"{turn + (not warm) or 'warm'} {name}: {took:.2f} s\n")
                if turn >= warm:
                    seconds[name].append(took)
    except KeyboardInterrupt:
        if not all(seconds.values()):
            raise SystemExit("Interrupted before every way was measured once.") from None
        sys.stderr.write("Interrupted: these are the figures so far.\n")
    return seconds


def tool(name: str, *pins: str) -> Path:
    """Return the programs of a peer, installed from PyPI into a venv of its own."""
    folder = ROOT / ".cache" / "benchmarks" / name
    stamp = folder / "pins"
    if not stamp.exists() or stamp.read_text() != " ".join(pins):
        sys.stderr.write(f"installing {' '.join(pins)}\n")
        run([sys.executable, "-m", "venv", "--clear", str(folder)])
        run([str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *pins])
        stamp.write_text(" ".join(pins))
    return folder / "bin"


@contextmanager
def masters() -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield a folder for SSH masters and the environment by which Ansible uses it; they end with the block.

    Ansible by itself keeps an unused master for 60 s, which a turn of fifty accounts outlasts.
    """
    with tempfile.TemporaryDirectory(prefix="nbb-", ignore_cleanup_errors=True) as name:
        try:
            yield (
                Path(name),
                {
                    "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=1800",
                    "ANSIBLE_SSH_CONTROL_PATH_DIR": name,
                },
            )
        finally:
            for path in [path for path in Path(name).rglob("*") if path.is_socket()]:
                order = ["ssh", "-F", "none", "-o", f"ControlPath={path}", "-O", "exit", "any"]
                subprocess.run(order, check=False, capture_output=True, timeout=10)


def flat_config(reaches: Mapping[str, Reach], path: Path) -> None:
    """Write an SSH configuration for peers that know neither Include nor -o: a block for each account, one for all."""
    lines: list[str] = []
    for name, reach in reaches.items():
        words = ["ssh", *(["-F", reach.config] if reach.config else []), *reach.options, "-G", reach.host]
        said = dict(line.split(" ", 1) for line in run(words).splitlines() if " " in line)
        # ssh writes every address in brackets, which Paramiko resolves as a name.
        way = re.sub(r"\[([^]:]+)\]", r"\1", said.get("proxyjump", ""))
        jump = [f"  ProxyJump {way}"] if way else []
        lines += [
            f"Host {name}",
            f"  HostName {said['hostname']}",
            f"  User {said['user']}",
            f"  Port {said['port']}",
            *jump,
        ]
    shared = [f"  IdentityFile {said['identityfile']}", f"  UserKnownHostsFile {said['userknownhostsfile']}"]
    path.write_text("\n".join([*lines, "Host *", *shared, "  StrictHostKeyChecking yes", ""]))


@contextmanager
def setup(name: str) -> Iterator[None]:
    """Say what is being prepared, and how long it took; it counts for nothing."""
    sys.stderr.write(f"{name} …\n")
    began = time.monotonic()
    yield
    sys.stderr.write(f"{name}: {time.monotonic() - began:.1f} s\n")


def circumstances() -> dict[str, Any]:
    """Return what the figures depend on: machine, load and versions."""
    cpu = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    ssh = subprocess.run(["ssh", "-V"], check=True, capture_output=True, text=True).stderr.strip().split(",")[0]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    return {
        "machine": f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GB",
        "load": os.getloadavg()[0],
        "versions": {
            "kernel": platform.release(),
            "python": platform.python_version(),
            "ansible-core": version("ansible-core"),
            "ansible-runner": version("ansible-runner"),
            "ssh": ssh,
        },
        "commit": commit,
    }


def report(title: str, seconds: Mapping[str, list[float]], *, unit: str, as_json: bool, **more: Any) -> None:  # noqa: ANN401
    """Print what was measured.

    Args:
        title: What was measured, in a few words.
        seconds: The figures of each way.
        unit: The way that the others are divided by.
        as_json: JSON instead of a table.
        more: What else belongs to the figures.
    """
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    # Of each round by itself, as what disturbs a round disturbs its divisor too.
    ratios = {
        name: statistics.median(mine / base for mine, base in zip(times, seconds[unit], strict=False))
        for name, times in seconds.items()
    }
    facts = circumstances()
    if as_json:
        figures = {"title": title, **facts, **more, "medians": medians, "ratios": ratios, "seconds": dict(seconds)}
        sys.stdout.write(json.dumps(figures, indent=1) + "\n")
        return
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    sys.stdout.write(f"{title}\n{facts['machine']}, load {facts['load']:.1f}; {versions}; {facts['commit']}\n")
    sys.stdout.write("".join(f"{key}: {value}\n" for key, value in more.items()))
    sys.stdout.write(f"\n| way | seconds | lowest to highest | times {unit} |\n|---|---|---|---|\n")
    for name, times in seconds.items():
        span = f"{min(times):.2f} to {max(times):.2f}" if len(times) > 1 else "one round"
        sys.stdout.write(f"| {name} | {medians[name]:.2f} | {span} | {ratios[name]:.2f} |\n")
