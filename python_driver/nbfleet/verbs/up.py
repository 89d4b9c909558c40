"""`nbfleet up`: provision accounts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nbfleet import control, fleet
from nbfleet.answer import Answer, columns
from nbfleet.errors import (
    FailedError,
    InterruptedRunError,
    NbfleetError,
    PartialError,
    SetupError,
    UnreachableError,
)
from nbfleet.options import FORKS, Options
from nbfleet.store import Store

if TYPE_CHECKING:
    import argparse

    from nbfleet.converge import Run
    from nbfleet.display import Display


def run(args: argparse.Namespace, display: Display) -> Answer:
    """Provision, keep the endpoints, and connect if asked."""
    if args.port and args.open:
        from nbfleet.forward import require_free

        require_free(args.port)  # what can fail at once must not fail after minutes
    store = Store()
    done = play(args, "site", store, display)
    good = {account.name for account in done.accounts if account.state == "done"}
    for endpoint in done.endpoints if not args.check else ():
        # What a failed run was after is not there; but a first way to the account is better than none.
        if endpoint.name in good or endpoint.name not in store.names():
            store.save(endpoint)
    answer = report(done, check=args.check)
    if not args.open or answer.error or args.check:
        return answer
    if len(done.endpoints) != 1:
        raise SetupError(
            f"--open is for one account, and these are {len(done.endpoints)}.", hint="Use nbfleet connect HOST."
        )
    from nbfleet.verbs import connect

    display.say(answer.text)
    args.host = done.endpoints[0].name
    opened = connect.run(args, display)
    return Answer({**opened.data, **answer.data}, opened.text, opened.error, opened.lines, opened.then)


def play(args: argparse.Namespace, playbook: str, store: Store, watch: fleet.Watch) -> Run:
    """Run a playbook with the options of the command line."""
    options = Options(
        check=args.check,
        diff=args.diff,
        forks=args.forks or FORKS,
        extra_vars=args.extra_vars,
        verbosity=max(0, args.verbose - 1),
        environment=control.ansible_environment(control.control_folder(), user_config=args.ssh_config),
    )
    chosen = fleet.chosen_inventory(
        args.hosts, inventory=args.inventory, jump=args.jump, ssh_config=args.ssh_config, store=store
    )
    with chosen as (inventory, limit, ways):
        return fleet.run(inventory, playbook, replace(options, limit=limit), ways=ways, watch=watch)


def report(done: Run, *, check: bool) -> Answer:
    """Return what became of each account, and the error if not all went well."""
    rows, data = [], []
    keepers = {endpoint.name: endpoint.keeper for endpoint in done.endpoints}
    for account in sorted(done.accounts, key=lambda account: account.name):
        seconds = account.seconds or 0.0
        changes = f"{account.changed} {'to change' if check else 'changed'}"
        why = f"{account.reason.says}. {account.reason.hint}" if account.reason else ""
        keeper = keepers.get(account.name) if account.state == "done" else None
        # The usual keeper needs no word; another one is never taken in silence.
        kept = f"kept by {keeper}" if keeper not in (None, "user") else ""
        rows.append([account.name, account.state, changes, f"{seconds:.0f} s", why or kept])
        data.append(
            {
                "name": account.name,
                "state": account.state,
                "changed": account.changed,
                "keeper": keeper,
                "seconds": round(seconds, 1),
                "task": account.task,
                "reason": account.reason.code if account.reason else None,
                "message": account.sentence or None,
                "hint": account.reason.hint if account.reason else None,
            }
        )
    return Answer({"check": check, "accounts": data}, columns(rows), verdict(done))


def verdict(done: Run) -> NbfleetError | None:
    """Return the error that a run ends in: the first account that failed, and how many others did."""
    good = [account for account in done.accounts if account.state == "done"]
    if done.stopped:
        return InterruptedRunError(interrupted(done), hint="Run the same command again; it goes on where it stopped.")
    bad = [account for account in done.accounts if account.state != "done"]
    if not bad:
        return None
    failed = [account for account in bad if account.state != "stopped"]
    first = (failed or bad)[0]
    says = first.sentence or f"{first.name} failed."
    if len(failed) > 1:
        says += f" ({len(failed) - 1} more of {len(done.accounts)} failed.)"
    if left := len(bad) - len(failed):
        says += f" ({left} of {len(done.accounts)} left as they were.)"
    hint = first.reason.hint if first.reason else ""
    if good:
        return PartialError(says, hint=hint)
    kind = UnreachableError if all(account.state == "unreachable" for account in failed) else FailedError
    return kind(says, hint=hint)


def interrupted(done: Run) -> str:
    """Return what state an interrupted run left."""
    finished = [account.name for account in done.accounts if account.state == "done"]
    open_ones = [account for account in done.accounts if account.state == "stopped"]
    parts = [f"{account.name} was at “{account.task}”" for account in open_ones[:5]]
    if len(open_ones) > 5:
        parts.append(f"{len(open_ones) - 5} more were under way")
    if finished:
        parts.append(f"{len(finished)} had ended")
    left = "; ".join(parts) or "nothing had begun"
    tail = " A command that was running there may still run to its end." if open_ones else ""
    return f"Interrupted: {left}. Nothing goes on from here.{tail}"
