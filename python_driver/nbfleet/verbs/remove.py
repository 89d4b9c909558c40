"""`nbfleet remove`: take back what was made on accounts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nbfleet import background
from nbfleet.errors import UsageError
from nbfleet.store import Store
from nbfleet.verbs.up import play, report

if TYPE_CHECKING:
    import argparse

    from nbfleet.answer import Answer
    from nbfleet.display import Display


def run(args: argparse.Namespace, display: Display) -> Answer:
    """Run the playbook that removes, and forget the accounts that it cleared."""
    if not args.yes and not args.check:
        confirm(args.hosts, display)
    store = Store()
    done = play(args, "remove", store, display)
    if not args.check:
        for account in done.accounts:
            if account.state == "done":
                background.stop(store, account.name)
                store.forget(account.name)
    return report(done, check=args.check)


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
