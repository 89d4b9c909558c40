"""`nbfleet restart`: restart Jupyter on accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfleet import keepers, service
from nbfleet.answer import Answer, columns
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
    done, rows = [], []
    for endpoint in Store().find(args.hosts):
        with display.stage(f"Restart Jupyter of {endpoint.name}"):
            connection = Connection(endpoint.ssh)
            connection.open()
            running = service.ensure_running(connection, endpoint, restart=True)
        done.append({"name": endpoint.name, "keeper": endpoint.keeper, "by": running.by})
        rows.append([endpoint.name, "restarted", f"kept by {keepers.title(endpoint.keeper, running.by)}"])
    return Answer({"restarted": [account["name"] for account in done], "accounts": done}, columns(rows))
