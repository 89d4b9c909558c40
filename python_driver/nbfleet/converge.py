"""One run of a playbook; the only import of ansible_runner."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ansible_runner

from nbfleet import content, process
from nbfleet.endpoint import Endpoint, Reach, number
from nbfleet.errors import SetupError
from nbfleet.options import Options, command_line, environment, limit
from nbfleet.progress import ENDINGS, Account, Event, Progress
from nbfleet.signals import own_signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Inventory = Path | Sequence[Path]

GRACE = 0.8  # seconds that ansible-playbook has to end by itself after Ctrl-C


class Watch(Protocol):
    """Who is told how a run goes; called from the runner's thread, must be quick."""

    def task(self, account: Account, *, ended: bool) -> None:
        """A task of an account begins or ends."""

    def event(self, data: Event) -> None:
        """A task of an account ended well; what ansible-runner says of it."""

    def words(self, text: str) -> None:
        """Ansible's own output, piece by piece."""


@dataclass(frozen=True)
class Run:
    """What a run came to.

    Attributes:
        accounts: All accounts that had a task.
        endpoints: What was handed over.
        stopped: True if it was interrupted.
    """

    accounts: list[Account]
    endpoints: list[Endpoint]
    stopped: bool


def converge(inventory: Inventory, playbook: str, options: Options, *, watch: Watch) -> Run:
    """Run one of our playbooks on the accounts of an inventory, which may be several files.

    Nothing of it stays on this computer: the runner's folder is private and removed at the end.

    Raises:
        SetupError: Ansible refused before the first task: inventory, limit, syntax.
    """
    for absent in (path for path in files(inventory) if not path.exists()):
        raise SetupError(
            f"There is no inventory {absent}.",
            hint="Copy inventory/hosts.example.yml and edit it, or name the account: nbfleet up user@host.",
        )
    with private_folder() as folder:
        progress, stopped, code = play(
            content.playbook(playbook), inventory, options, {"endpoint_wanted": True}, folder, watch
        )
    endpoints = [Endpoint.from_json(told) for _, told in sorted(progress.handed_over.items())]
    if stopped:
        for account in progress.accounts.values():
            if account.state == "running":
                account.end("stopped")
    elif not progress.accounts:
        raise SetupError(refusal(progress.words), hint="See the inventory, and the names given on the command line.")
    elif code != 0 and all(account.state == "done" for account in progress.accounts.values()):
        raise SetupError(refusal(progress.words), hint="Run it again with -v for Ansible's own output.")
    return Run(list(progress.accounts.values()), endpoints, stopped)


def files(inventory: Inventory) -> list[Path]:
    """Return the files of an inventory."""
    return [inventory] if isinstance(inventory, Path) else list(inventory)


def reaches(inventory: Inventory, options: Options) -> dict[str, Reach]:
    """Return how the inventory and -e say that accounts are reached, rendered by Ansible; connects to none of them."""
    words = {
        "host": "{{ ansible_host | default(inventory_hostname) }}",
        "user": "{{ ansible_user | default(ansible_ssh_user | default(''), true) }}",
        "port": "{{ ansible_port | default(ansible_ssh_port | default(''), true) }}",
        "key": "{{ ansible_ssh_private_key_file | default(ansible_private_key_file | default(''), true) }}",
        "args": "{{ ansible_ssh_common_args | default('') }} {{ ansible_ssh_extra_args | default('') }}",
    }
    ask = {"name": "Render the way", "ansible.builtin.debug": {"msg": words}}
    book = [{"name": "Ask the inventory", "hosts": "all", "gather_facts": False, "tasks": [ask]}]
    found: dict[str, Reach] = {}

    class Listen:
        def task(self, account: Account, *, ended: bool) -> None: ...

        def words(self, text: str) -> None: ...

        def event(self, data: Event) -> None:
            told = (data.get("res") or {}).get("msg")
            if isinstance(told, dict) and set(told) == set(words):
                key, args = told["key"] or None, told["args"].strip()
                found[data["host"]] = Reach(told["host"], told["user"] or None, number(told["port"]), key, args)

    with private_folder() as folder:
        path = folder / "ask.yml"
        path.write_text(json.dumps(book))
        play(path, inventory, options, {}, folder, Listen())
    return found


def play(
    playbook: Path, inventory: Inventory, options: Options, variables: dict[str, Any], folder: Path, watch: Watch
) -> tuple[Progress, bool, int]:
    """Run a playbook by ansible-runner; return its progress, whether it was stopped, and Ansible's exit status."""
    progress, kill = Progress(), threading.Event()

    def on_event(event: Event) -> bool:
        # An exception here would end the runner's thread without a word.
        with contextlib.suppress(Exception):
            account = progress.take(event)
            if account:
                watch.task(account, ended=event["event"] in ENDINGS)
            if event["event"] == "runner_on_ok":
                watch.event(event["event_data"])
            if event.get("stdout"):
                watch.words(event["stdout"])
        return False  # keep no copy of the event on disk

    with own_signals() as signals:
        thread, runner = ansible_runner.run_async(
            private_data_dir=str(folder),
            project_dir=str(content.checkout() or Path.cwd()),
            playbook=str(playbook),
            inventory=[str(path.absolute()) for path in files(inventory)],
            limit=limit(options, folder),
            forks=options.forks,
            verbosity=options.verbosity or None,
            extravars=variables,
            cmdline=command_line(options, folder) or None,
            envvars={**environment(folder), **options.environment},
            settings={"pexpect_timeout": 1, "suppress_output_file": True},
            fact_cache_type="",
            event_handler=on_event,
            cancel_callback=kill.is_set,
            quiet=True,
        )
        stopped = wait(thread, signals, progress, kill)
    return progress, stopped, int(runner.rc if runner.rc is not None else 1)


def wait(thread: threading.Thread, signals: list[int], progress: Progress, kill: threading.Event) -> bool:
    """Wait for the runner; on Ctrl-C end ansible-playbook in two stages, and then whatever it left.

    Returns:
        Whether it was stopped.
    """
    asked = 0.0
    family: list[int] = []
    while thread.is_alive():
        thread.join(0.05)
        if not signals:
            continue
        if not asked:
            asked = time.monotonic()
            if progress.pid:
                family = process.descendants(progress.pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(progress.pid, signal.SIGINT)
        if len(signals) > 1 or not progress.pid or time.monotonic() - asked > GRACE:
            family += process.descendants(progress.pid) if progress.pid else []
            kill.set()
    # Ansible's workers live in sessions of their own, where the end of their parent does not reach them.
    for pid in family:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return bool(asked)


def refusal(words: Sequence[str]) -> str:
    """Return the line in which Ansible says why it did not begin."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for text in words for line in text.splitlines()]
    errors = [line for line in lines if re.match(r"(\[?ERROR\]?!?:?|fatal:)", line)]
    text = re.sub(
        r"^\[?ERROR\]?!?:?\s*", "", (errors or [line for line in lines if line] or ["no account matches"])[-1]
    )
    return f"Ansible did not begin: {text.rstrip('.')}."


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder of 0700 that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="nbfleet-", ignore_cleanup_errors=True) as name:
        yield Path(name)
