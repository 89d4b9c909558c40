"""`nbfleet logs`: the journal of an account's Jupyter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfleet import keepers, process, service
from nbfleet.answer import Answer
from nbfleet.errors import FailedError, UsageError
from nbfleet.ssh import Connection
from nbfleet.store import Store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from nbfleet.display import Display


def run(args: argparse.Namespace, display: Display) -> Answer:
    """Show the last lines, or follow them."""
    if args.follow and args.json:
        raise UsageError("--follow has no end, and --json is one object.", hint="Leave one of them out.")
    endpoint = Store().get(args.host)
    connection = Connection(endpoint.ssh)
    connection.open()
    by, lines = service.journal(connection, endpoint, lines=0 if args.follow else args.lines)
    display.say(f"{endpoint.name}: Jupyter is kept by {keepers.title(endpoint.keeper, by)}.")
    if args.follow:
        return Answer({}, lines=following(service.follow(connection, endpoint, lines=args.lines)))
    if not lines:
        raise FailedError(
            f"{endpoint.name}: the journal is empty, or this account may not read it.",
            hint="A journal that is kept in memory only is for its administrators; they make it persistent with "
            "Storage=persistent in journald.conf.",
        )
    data = {"name": endpoint.name, "keeper": endpoint.keeper, "by": by, "lines": lines}
    return Answer(data, "\n".join(lines))


def following(child: process.Child[str]) -> Iterator[str]:
    """Give the lines of a journal as they come, until Ctrl-C."""
    try:
        for line in child.stdout or ():
            yield line.rstrip("\n")
    except KeyboardInterrupt:
        return
    finally:
        process.end(child)
