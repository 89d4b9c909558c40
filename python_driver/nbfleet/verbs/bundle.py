"""`nbfleet bundle`: all that accounts need in one folder, for runs without a network."""

from __future__ import annotations

import json
from pathlib import Path
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
    """Keeps what a run says about the bundle."""

    def __init__(self, display: Display) -> None:
        super().__init__(display)
        self.locks: list[dict[str, Any]] = []

    def event(self, data: Event) -> None:
        """Take in the result of a task."""
        told = data.get("res") or {}
        if told.get("bundle"):
            self.locks.append({"lock": told["lock"], "packages": told["packages"], "changed": told["changed"]})


def run(args: argparse.Namespace, display: Display) -> Answer:
    """Run the playbook, and tell what the folder holds."""
    folder = Path(args.to).expanduser().absolute()
    args.extra_vars.append(json.dumps({"miniconda_bundle": str(folder)}))
    told = Results(display)
    error = verdict(play(args, "bundle", Store(), told))
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    size = sum(path.stat().st_size for path in files)
    locks = sorted(told.locks, key=lambda lock: str(lock["lock"]))
    data = {"folder": str(folder), "files": len(files), "bytes": size, "locks": locks}
    text = "\n".join(
        [
            *(
                f"{lock['lock']}: {lock['packages']} packages{'' if lock['changed'] else ', all there'}"
                for lock in locks
            ),
            f"{folder}: {size / 1e6:.0f} MB; use it by nbfleet up -e miniconda_bundle={folder}",
        ]
    )
    return Answer(data, text if locks else "", error)
