"""`nbfleet lock`: make new locks, without touching an environment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nbfleet.answer import Answer
from nbfleet.listener import Listener
from nbfleet.store import Store
from nbfleet.verbs.up import play, verdict

if TYPE_CHECKING:
    import argparse

    from nbfleet.display import Display
    from nbfleet.progress import Event


class Results(Listener):
    """Keeps what a run says about locks."""

    def __init__(self, display: Display) -> None:
        super().__init__(display)
        self.locks: list[dict[str, Any]] = []

    def event(self, data: Event) -> None:
        """Take in the result of a task."""
        told = data.get("res") or {}
        if file := told.get("lock_file"):
            moved = (text.replace("->", "").split() for text in told["moved"])
            self.locks.append(
                {
                    "file": file,
                    "account": data["host"],
                    "changed": told["changed"],
                    "added": told["added"],
                    "removed": told["removed"],
                    "moved": [dict(zip(("name", "from", "to"), words, strict=True)) for words in moved],
                }
            )


def run(args: argparse.Namespace, display: Display) -> Answer:
    """Run the playbook, and tell what moved in each lock."""
    if args.update is not None:
        args.extra_vars.append(json.dumps({"jupyter_lock_update": args.update or ["*"]}))
    told = Results(display)
    done = play(args, "lock", Store(), told)
    locks = sorted(told.locks, key=lambda lock: str(lock["file"]))
    text = "\n".join(line for lock in locks for line in lines(lock, check=args.check))
    error = verdict(done)
    return Answer(
        {"check": args.check, "locks": locks}, text or ("" if error else "No account here takes a lock."), error
    )


def lines(lock: dict[str, Any], *, check: bool) -> list[str]:
    """Return what became of a lock, as a person reads it."""
    fate = ("would be written" if check else "written") if lock["changed"] else "kept"
    return [
        f"{lock['file']}: {fate}",
        *(f"  + {text}" for text in lock["added"]),
        *(f"  - {text}" for text in lock["removed"]),
        *(f"  {move['name']} {move['from']} -> {move['to']}" for move in lock["moved"]),
    ]
