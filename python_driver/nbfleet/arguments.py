"""The words of the command line; imports nothing heavy, as `--help` must be quick."""

from __future__ import annotations

import argparse
from typing import NoReturn

from nbfleet import __version__
from nbfleet.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of leaving."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse has to complain about."""
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", hint=f"See {self.prog} --help.")


def parser() -> Parser:
    """Return the parser of all verbs; `args.verb` is the module that does it."""
    top = Parser(prog="nbfleet", description="Turn any Linux account that SSH reaches into a running Jupyter.")
    top.add_argument("--version", action="version", version=f"nbfleet {__version__}")
    verbs = top.add_subparsers(metavar="VERB", required=True, parser_class=Parser)

    up = verb(verbs, "up", "provision accounts, of the inventory or named as user@host")
    up.add_argument("hosts", nargs="*", metavar="HOST", help="inventory name or pattern, or [user@]host[:port]")
    add_run(up)
    up.add_argument("--check", action="store_true", help="change nothing, only predict")
    up.add_argument("--diff", action="store_true", help="show what changes inside files")
    up.add_argument("--open", action="store_true", help="connect afterwards, if it is one account")
    add_connect(up)

    lock = verb(verbs, "lock", "make new locks of the packages that accounts install; touches no account")
    lock.add_argument("hosts", nargs="*", metavar="HOST", help="inventory name or pattern, or [user@]host[:port]")
    add_run(lock)
    lock.add_argument("--check", action="store_true", help="write nothing, only show")
    lock.add_argument(
        "--update", nargs="*", metavar="PACKAGE", help="take newer versions, of these packages only or of all"
    )
    lock.set_defaults(diff=False)

    upgrade = verb(verbs, "upgrade", "build what the locks ask for beside what runs, try it, switch; one account first")
    rollback = verb(verbs, "rollback", "switch back to the environment before the last upgrade")
    for made in (upgrade, rollback):
        made.add_argument("hosts", nargs="*", metavar="HOST", help="inventory name or pattern, or [user@]host[:port]")
        add_run(made)
        made.add_argument("--check", action="store_true", help="change nothing, only predict")
        made.add_argument("--diff", action="store_true", help="show what changes inside files")
        made.add_argument(
            "--when",
            choices=["idle", "now", "at-restart"],
            default="idle",
            help="restart when no kernel computes, now, or leave that to the next start (%(default)s)",
        )

    bundle = verb(verbs, "bundle", "gather all that accounts need in one folder, for runs without a network")
    bundle.add_argument("hosts", nargs="*", metavar="HOST", help="inventory name or pattern, or [user@]host[:port]")
    add_run(bundle)
    bundle.add_argument("--to", metavar="FOLDER", default="nbfleet-bundle", help="the folder (%(default)s)")
    bundle.set_defaults(check=False, diff=False)

    connect = verb(verbs, "connect", "open an account's Jupyter in the browser")
    connect.add_argument("host", metavar="HOST")
    add_connect(connect)

    disconnect = verb(verbs, "disconnect", "close the forward to an account, or all")
    disconnect.add_argument("hosts", nargs="*", metavar="HOST")

    status = verb(verbs, "status", "ask accounts how their Jupyter is")
    status.add_argument("hosts", nargs="*", metavar="HOST", help="all known accounts without any; * and ? work")

    doctor = verb(verbs, "doctor", "look at accounts without changing anything, and say what is in the way")
    doctor.add_argument("hosts", nargs="*", metavar="HOST", help="inventory name or pattern, or [user@]host[:port]")
    add_run(doctor)

    logs = verb(verbs, "logs", "show the journal of an account's Jupyter")
    logs.add_argument("host", metavar="HOST")
    logs.add_argument("-n", "--lines", type=int, default=50, metavar="N", help="how many (%(default)s)")
    logs.add_argument("-f", "--follow", action="store_true", help="and those to come, until Ctrl-C")

    restart = verb(verbs, "restart", "restart Jupyter on accounts; running kernels end")
    restart.add_argument("hosts", nargs="+", metavar="HOST")
    restart.add_argument(
        "--new-token", action="store_true", help="with a new token: pages and links of before are dead (by Ansible)"
    )
    add_run(restart)

    remove = verb(verbs, "remove", "take back what nbfleet made on accounts; notebooks stay")
    remove.add_argument("hosts", nargs="+", metavar="HOST")
    add_run(remove)
    remove.add_argument("--check", "--dry-run", action="store_true", help="change nothing, only list what would go")
    remove.add_argument("--keep-conda", action="store_true", help="conda and the user's environments stay")
    remove.add_argument("--diff", action="store_true", help="show what changes inside files")
    remove.add_argument("-y", "--yes", action="store_true", help="do not ask")

    demo = verb(verbs, "demo", "build a bastion and a node on this computer, and open Jupyter through them")
    demo.add_argument("--keep", action="store_true", help="leave the forward open in the background")
    demo.add_argument("--down", action="store_true", help="clear everything the demo made")
    demo.add_argument("--no-browser", action="store_true", help="do not open a browser")

    return top


def verb(verbs: argparse._SubParsersAction[Parser], name: str, says: str) -> Parser:
    """Add a verb with what all verbs share."""
    made = verbs.add_parser(name, help=says, description=f"{says[:1].upper()}{says[1:]}.")
    made.set_defaults(verb=name)
    made.add_argument("--json", action="store_true", help="one JSON object on standard output, also for errors")
    made.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    made.add_argument("-v", "--verbose", action="count", default=0, help="Ansible's own output; more with -vv, -vvv")
    return made


def add_run(into: Parser) -> None:
    """Add what all runs of a playbook share."""
    into.add_argument(
        "-i",
        "--inventory",
        action="append",
        default=[],
        metavar="FILE",
        help="inventory (inventory/hosts.yml); may be given more than once",
    )
    into.add_argument("-J", "--jump", metavar="[USER@]HOST[:PORT]", help="bastion, for hosts named on the spot")
    into.add_argument("-F", "--ssh-config", metavar="FILE", help="SSH configuration instead of your own")
    into.add_argument("--forks", type=int, metavar="N", help="accounts at once (as many as there are, at most 50)")
    into.add_argument(
        "-e", "--extra-vars", action="append", default=[], metavar="VARS", help="key=value, JSON or @file"
    )


def add_connect(into: Parser) -> None:
    """Add how a connection is opened."""
    into.add_argument(
        "--port", type=int, metavar="N", help="local port (the last one of this account, else a free one)"
    )
    into.add_argument("--no-browser", action="store_true", help="print the address with its token instead")
    into.add_argument("--background", action="store_true", help="do not stay in the foreground")
