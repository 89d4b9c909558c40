"""`nbfleet doctor`: look at accounts without changing anything, and say what is in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfleet import checks
from nbfleet.answer import Answer, columns
from nbfleet.errors import FailedError, NbfleetError, PartialError, UnreachableError
from nbfleet.listener import Listener
from nbfleet.store import Store
from nbfleet.verbs.up import play

if TYPE_CHECKING:
    import argparse

    from nbfleet.checks import Check
    from nbfleet.converge import Run
    from nbfleet.display import Display
    from nbfleet.progress import Event


class Results(Listener):
    """Keeps what each account's survey came to."""

    def __init__(self, display: Display) -> None:
        super().__init__(display)
        self.found: dict[str, list[Check]] = {}

    def event(self, data: Event) -> None:
        """Take in the result of a task."""
        told = (data.get("res") or {}).get("msg")
        if isinstance(told, list) and all(isinstance(line, dict) and "level" in line for line in told):
            self.found[data["host"]] = [{key: str(line[key]) for key in ("check", "level", "says")} for line in told]


def run(args: argparse.Namespace, display: Display) -> Answer:
    """Survey all accounts at once, then try each one's way from here."""
    args.check, args.diff = True, False
    told = Results(display)
    done = play(args, "doctor", Store(), told)
    ways = {endpoint.name: endpoint for endpoint in done.endpoints}
    found: dict[str, list[Check]] = {}
    for account in sorted(done.accounts, key=lambda account: account.name):
        lines = told.found.get(account.name)
        if lines is None:
            lines = [checks.check("reached", "fail", account.sentence or f"{account.name} gave no answer.")]
        elif account.name in ways:
            lines = [*checks.of_the_way(ways[account.name]), *lines]
        found[account.name] = lines
    rows = [[name, line["level"], line["check"], line["says"]] for name, lines in found.items() for line in lines]
    data = [{"name": name, "worst": checks.worst(lines), "checks": lines} for name, lines in found.items()]
    return Answer({"accounts": data}, columns(rows), verdict(done, found))


def verdict(done: Run, found: dict[str, list[Check]]) -> NbfleetError | None:
    """Return the error of the first account with something in its way; warnings are none."""
    bad = {name: [line for line in lines if line["level"] == "fail"] for name, lines in found.items()}
    bad = {name: lines for name, lines in bad.items() if lines}
    if not bad:
        return None
    name, lines = next(iter(bad.items()))
    more = f" ({len(bad) - 1} more of {len(found)} have something in their way.)" if len(bad) > 1 else ""
    says = f"{name}: {lines[0]['says'].removeprefix(f'{name} ').rstrip('.')}.{more}"
    if len(bad) < len(found):
        return PartialError(says, hint="Every line with “fail” says what is needed.")
    lost = all(account.state == "unreachable" for account in done.accounts)
    return (UnreachableError if lost else FailedError)(says, hint="Every line with “fail” says what is needed.")
