"""What happens on each account during a run of a playbook; pure, fed by Ansible's events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from nbfleet.explain import Reason, ssh_reason, task_reason

Event = dict[str, Any]

# A result from Ansible that ends a task on an account.
ENDINGS = ("runner_on_ok", "runner_on_failed", "runner_on_skipped", "runner_on_unreachable")


@dataclass
class Account:
    """One account in a run.

    Attributes:
        name: Its name in the inventory.
        state: running, done, failed, unreachable or stopped.
        task: What is being done, or was done last.
        task_began: When that began, of the monotonic clock.
        began: When the first task began.
        seconds: Duration of the whole, once it has ended.
        changed: How many tasks changed something.
        reason: Why it failed.
    """

    name: str
    state: str = "running"
    task: str = ""
    task_began: float = field(default_factory=time.monotonic)
    began: float = field(default_factory=time.monotonic)
    seconds: float | None = None
    changed: int = 0
    reason: Reason | None = None

    @property
    def sentence(self) -> str:
        """Why it failed, as one sentence; empty otherwise."""
        return f"{self.name} {self.reason.says}." if self.reason else ""

    def end(self, state: str) -> None:
        """Set the final state and stop the clock."""
        self.state = state
        if self.seconds is None:
            self.seconds = time.monotonic() - self.began


@dataclass
class Progress:
    """All accounts of a run.

    Attributes:
        accounts: By name, in the order of their first task.
        handed_over: By the account's name, what the survey's result says of the way there (docs/json.md).
        words: The last lines that Ansible said outside of tasks.
        pid: Process number of ansible-playbook, 0 while unknown.
    """

    accounts: dict[str, Account] = field(default_factory=dict)
    handed_over: dict[str, Event] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    pid: int = 0

    def take(self, event: Event) -> Account | None:
        """Take in an event; return the account whose task it begins or ends."""
        self.pid = event.get("pid") or self.pid
        kind, data = event.get("event", ""), event.get("event_data") or {}
        if kind in ("verbose", "error", "warning", "deprecated") and event.get("stdout"):
            self.words = [*self.words, str(event["stdout"])][-50:]
        if kind == "playbook_on_stats":
            self._settle(data)
        if not (name := data.get("host")) or kind not in ("runner_on_start", *ENDINGS):
            return None
        account = self.accounts.setdefault(name, Account(name))
        match kind:
            case "runner_on_start":
                account.task, account.task_began = title(data), time.monotonic()
            case "runner_on_ok":
                result = data.get("res") or {}
                account.changed += bool(result.get("changed"))
                if told := result.get("handover"):
                    self.handed_over[name] = told
            case "runner_on_failed" if not data.get("ignore_errors"):
                # Kept even if a rescue follows: the statistics at the end decide whether it counts.
                account.reason = task_reason(data)
            case "runner_on_unreachable":
                account.reason = ssh_reason(str((data.get("res") or {}).get("msg", "")), where=name)
                account.end("unreachable")
        return account

    def _settle(self, stats: Event) -> None:
        for name in {*(stats.get("processed") or {}), *(stats.get("ok") or {}), *(stats.get("dark") or {})}:
            self.accounts.setdefault(name, Account(name))
        for name, account in self.accounts.items():
            if (stats.get("dark") or {}).get(name):
                account.end("unreachable")
            elif (stats.get("failures") or {}).get(name):
                account.end("failed")
            else:
                account.reason = None
                account.end("done")
            account.changed = int((stats.get("changed") or {}).get(name, account.changed))


def title(data: Event) -> str:
    """Return a task's name, with its role before it."""
    task = str(data.get("task") or "")
    role = data.get("role")
    return f"{role}: {task}" if role and not task.startswith(f"{role} ") else task
