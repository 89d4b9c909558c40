"""`nbfleet remove`: take back what was made on accounts."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from nbfleet import background
from nbfleet.errors import UsageError
from nbfleet.listener import Listener
from nbfleet.store import Store
from nbfleet.verbs.up import play, report

if TYPE_CHECKING:
    import argparse

    from nbfleet.answer import Answer
    from nbfleet.display import Display
    from nbfleet.progress import Event


class Results(Listener):
    """Keeps what goes from each account."""

    def __init__(self, display: Display) -> None:
        super().__init__(display)
        self.gone: dict[str, list[str]] = defaultdict(list)
        self.told: dict[str, list[str]] = defaultdict(list)

    def event(self, data: Event) -> None:
        """Take in the result of a task."""
        answer = data.get("res") or {}
        if answer.get("changed"):
            self.gone[data["host"]] += things(answer)
        # conda goes by a script, and the task after it says in a sentence what became of it, or why it stays.
        if answer.get("backups") or data.get("task_action") == "ansible.builtin.assert":
            self.told[data["host"]].append(str(answer.get("msg")))


def things(answer: Event) -> list[str]:
    """Return what a task took away, or in a dry run would, each in a few words."""
    if "files" in answer:
        return [f"{path} ({what})" for path, what in answer["files"].items()]
    if "done" in answer:
        return [f"service: {step}" for step in answer["done"]]
    return [line for part in answer.get("diff") or () for line in str(part.get("before") or "").splitlines()]


def run(args: argparse.Namespace, display: Display) -> Answer:
    """Run the playbook that removes, and forget the accounts that it cleared."""
    if not args.yes and not args.check:
        confirm(args.hosts, display)
    if args.keep_conda:
        args.extra_vars = [*args.extra_vars, '{"miniconda_keep": true}']
    store, told = Store(), Results(display)
    done = play(args, "remove", store, told)
    if not args.check:
        for account in done.accounts:
            if account.state == "done":
                background.stop(store, account.name)
                store.forget(account.name)
    answer = report(done, check=args.check)
    lines = []
    for account in answer.data["accounts"]:
        account["gone"], account["told"] = told.gone[account["name"]], told.told[account["name"]]
        lines += [f"{account['name']}: {thing}" for thing in account["gone"] if args.check]
        lines += account["told"]
    return replace(answer, text="\n".join([*lines, answer.text]))


def confirm(hosts: list[str], display: Display) -> None:
    """Ask before anything is removed.

    Raises:
        UsageError: The answer was not yes, or nobody is there to give one.
    """
    if not sys.stdin.isatty():
        raise UsageError("remove asks first, and there is no terminal to ask at.", hint="Add --yes.")
    display.error(f"Remove Jupyter and what nbfleet installed for {', '.join(hosts)}? Notebooks stay. [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("Nothing was removed.")
