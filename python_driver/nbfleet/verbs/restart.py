"""`nbfleet restart`: restart Jupyter on accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfleet import service
from nbfleet.answer import Answer
from nbfleet.ssh import Connection
from nbfleet.store import Store

if TYPE_CHECKING:
    import argparse

    from nbfleet.display import Display


def run(args: argparse.Namespace, display: Display) -> Answer:
    """Restart one after the other; the first that fails ends it."""
    done = []
    for endpoint in Store().find(args.hosts):
        with display.stage(f"Restart Jupyter of {endpoint.name}"):
            connection = Connection(endpoint.ssh)
            connection.open()
            service.ensure_running(connection, endpoint, restart=True)
        done.append(endpoint.name)
    return Answer({"restarted": done})
