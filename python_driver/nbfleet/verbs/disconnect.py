"""`nbfleet disconnect`: close the forward to an account, or all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nbfleet import background
from nbfleet.answer import Answer
from nbfleet.ssh import Connection
from nbfleet.store import Store

if TYPE_CHECKING:
    import argparse

    from nbfleet.display import Display


def run(args: argparse.Namespace, display: Display) -> Answer:
    """End the processes that hold forwards, and the SSH masters under them."""
    store = Store()
    endpoints = [store.get(name) for name in args.hosts or store.sessions()]
    names = {endpoint.name for endpoint in endpoints}
    # Accounts of one admin share a master: it stays as long as another one is open.
    in_use = {replace(store.get(name).ssh, become=None) for name in store.sessions() if name not in names}
    closed = []
    for endpoint in endpoints:
        was_open = background.stop(store, endpoint.name)
        connection = Connection(endpoint.ssh, ask=False)
        if last := store.last_port(endpoint.name):
            connection.cancel(last, endpoint.destination)
        if replace(endpoint.ssh, become=None) not in in_use:
            connection.close()
        if was_open:
            closed.append(endpoint.name)
        display.say(f"{endpoint.name} " + ("is closed; Jupyter runs on there." if was_open else "was not open."))
    if not endpoints:
        display.say("No account is open.")
    return Answer({"disconnected": closed})
