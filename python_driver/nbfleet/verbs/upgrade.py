"""`nbfleet upgrade`: new environments, each tried before it takes the place of the present one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from nbfleet.explain import Reason
from nbfleet.listener import Listener
from nbfleet.progress import Account
from nbfleet.store import Store
from nbfleet.verbs.up import play, report

if TYPE_CHECKING:
    import argparse

    from nbfleet.answer import Answer
    from nbfleet.converge import Run
    from nbfleet.display import Display
    from nbfleet.progress import Event

LEFT_ALONE = Reason(
    "left_alone", "was left as it is, since another account failed", "Run it again when that is mended."
)


class Results(Listener):
    """Keeps which environments accounts had, got and carried things into."""

    def __init__(self, display: Display) -> None:
        super().__init__(display)
        self.built: dict[str, dict[str, Any]] = {}
        self.switched: dict[str, str] = {}
        self.asked: list[str] = []

    def event(self, data: Event) -> None:
        """Take in the result of a task."""
        answer, action = data.get("res") or {}, data.get("task_action")
        if action == "conda_environment":
            self.built[data["host"]] = answer
        elif action == "conda_generation" and answer.get("changed") and not answer["removed"]:
            self.switched[data["host"]] = answer["environment"]
        elif isinstance(answer.get("msg"), dict):
            # A second try is for some of them only.
            self.asked = self.asked or list(answer["msg"].get("accounts", []))


def run(args: argparse.Namespace, display: Display) -> Answer:
    """Run the playbook, and tell which environment counts on each account."""
    return switch(args, "upgrade", display)


def switch(args: argparse.Namespace, playbook: str, display: Display) -> Answer:
    """Run a playbook that lets another environment count."""
    args.extra_vars = [*args.extra_vars, f"jupyter_service_when={args.when}"]
    told = Results(display)
    done = play(args, playbook, Store(), told)
    settle(done, told, check=args.check)
    answer = report(done, check=args.check)
    lines = []
    for account in answer.data["accounts"]:
        name = account["name"]
        built = told.built.get(name, {})
        account["switched"] = account["state"] == "done" and name in told.switched
        account["environment"] = told.switched.get(name) if account["switched"] else built.get("environment")
        account["carried"], account["left"] = built.get("carried", []), built.get("left", [])
        lines += [fate(account, check=args.check)] if account["state"] == "done" else []
    return replace(answer, text="\n".join([*lines, answer.text]))


def settle(done: Run, told: Results, *, check: bool) -> None:
    """Tell accounts that the failure of another one ended, or kept from beginning, from those that are done."""
    begun = {account.name for account in done.accounts}
    for name in told.asked:
        if name not in begun and not done.stopped:
            done.accounts.append(Account(name, "stopped", reason=LEFT_ALONE))
    for account in done.accounts:
        waits = told.built.get(account.name, {}).get("changed") and account.name not in told.switched
        if account.state == "done" and waits and not check:
            account.state, account.reason = "stopped", LEFT_ALONE


def fate(account: dict[str, Any], *, check: bool) -> str:
    """Return what became of an account, as a person reads it."""
    if not account["switched"]:
        return f"{account['name']}: stands as its lock says"
    words = [f"{account['name']}: {'would be' if check else 'is'} at {PurePath(account['environment']).name}"]
    words += [f"carried over: {', '.join(account['carried'])}"] if account["carried"] else []
    words += [f"of the lock now: {', '.join(account['left'])}"] if account["left"] else []
    return "; ".join(words)
