"""`nbfleet status`: ask many accounts at once how their Jupyter is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING

from nbfleet import keepers, service
from nbfleet.answer import Answer, columns
from nbfleet.errors import NbfleetError, PartialError, UnreachableError
from nbfleet.ssh import Connection
from nbfleet.store import Store

if TYPE_CHECKING:
    import argparse

    from nbfleet.display import Display
    from nbfleet.endpoint import Endpoint
    from nbfleet.service import Status

AT_ONCE = 32
ANSWERS = {True: "answers", False: "does not answer", None: "-"}


def run(args: argparse.Namespace, display: Display) -> Answer:
    """Ask in parallel, one round trip each."""
    store = Store()
    endpoints = store.find(args.hosts)
    if not endpoints:
        display.say("No account is known here yet; nbfleet up makes the first.")
        return Answer({"accounts": []})
    with ThreadPoolExecutor(min(AT_ONCE, len(endpoints))) as pool:
        found = list(pool.map(ask, endpoints))
    rows, data = [], []
    for endpoint, status in zip(endpoints, found, strict=True):
        session = store.open_session(endpoint.name)
        url = endpoint.url(int(session["local_port"])) if session else None
        data.append({**asdict(status), "url": url})
        words = [
            status.name,
            keepers.title(status.keeper, status.by),
            status.state,
            ANSWERS[status.answers],
            size(status.memory),
            status.since or "-",
            url or "-",
        ]
        rows.append(words)
    lost = [status for status in found if status.state == "unreachable"]
    failed = [status for status in found if status.state == "failed" and status.detail]
    reasons = [f"{status.name}: {status.detail}; nbfleet up {status.name} puts it right." for status in failed]
    head = ["ACCOUNT", "KEEPER", "SERVICE", "HTTP", "MEMORY", "SINCE", "OPEN AT"]
    return Answer({"accounts": data}, "\n".join([columns([head, *rows]), *reasons]), verdict(found, lost))


def ask(endpoint: Endpoint) -> Status:
    """Ask one account; not to reach it is an answer too."""
    connection = Connection(endpoint.ssh, ask=False)
    try:
        connection.open()
        return service.status(connection, endpoint)
    except NbfleetError as error:
        return service.Status(endpoint.name, endpoint.keeper, "unreachable", detail=f"{error} {error.hint}".strip())


def verdict(found: list[Status], lost: list[Status]) -> NbfleetError | None:
    """Return the error if accounts were not reached."""
    if not lost:
        return None
    more = f" ({len(lost) - 1} more of {len(found)} were not reached.)" if len(lost) > 1 else ""
    kind = UnreachableError if len(lost) == len(found) else PartialError
    return kind(f"{lost[0].name}: {lost[0].detail}{more}")


def size(memory: int | None) -> str:
    """Return bytes as a person reads them."""
    return "-" if memory is None else f"{memory / 2**20:.0f} MB"
