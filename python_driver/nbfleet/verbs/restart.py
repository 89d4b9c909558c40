"""`nbfleet restart`: restart Jupyter on accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfleet import service
from nbfleet.answer import Answer
from nbfleet.ssh import Connection
from nbfleet.store import Store
from nbfleet.verbs.up import play, report

if TYPE_CHECKING:
    import argparse

    from nbfleet.display import Display


def run(args: argparse.Namespace, display: Display) -> Answer:
    """Restart one after the other until one fails; with a new token all at once, by the playbook."""
    if args.new_token:
        args.check = args.diff = False
        args.extra_vars = [*args.extra_vars, "jupyter_service_new_token=true"]
        return report(play(args, "restart", Store(), display), check=False)
    done = []
    for endpoint in Store().find(args.hosts):
        with display.stage(f"Restart Jupyter of {endpoint.name}"):
            connection = Connection(endpoint.ssh)
            connection.open()
            service.ensure_running(connection, endpoint, restart=True)
        done.append(endpoint.name)
    return Answer({"restarted": done})
