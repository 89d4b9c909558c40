"""Bring accounts to their wanted state: the inventory or hosts named on the spot, Ansible, and a second try."""

from __future__ import annotations

import contextlib
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nbfleet import content, converge
from nbfleet.control import close_since
from nbfleet.endpoint import Reach
from nbfleet.errors import NbfleetError, SetupError, UnreachableError, UsageError
from nbfleet.explain import Reason
from nbfleet.ssh import Connection, can_ask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nbfleet.options import Options
    from nbfleet.progress import Account
    from nbfleet.store import Store


class Watch(converge.Watch, Protocol):
    """Who is told how a run goes, and shows it for as long as it lasts."""

    def live(self) -> contextlib.AbstractContextManager[None]:
        """Show the accounts inside the block."""


PROBED = 32  # unreachable accounts that are looked at hop by hop


def read_host(text: str, *, jump: str | None, ssh_config: str | None) -> tuple[str, Reach]:
    """Read `[user@]host[:port]` into the account's name and the way there.

    Raises:
        UsageError: It is not of that form.
    """
    found = re.fullmatch(
        r"(?:(?P<user>[^@:\s]+)@)?(?P<host>\[[0-9a-fA-F:.%]+\]|[^@:\[\]\s-][^@:\[\]\s]*)(?::(?P<port>\d+))?", text
    )
    if not found:
        raise UsageError(f"{text} is not an account.", hint="Write user@host, or user@host:port.")
    words = ["-F", str(Path(ssh_config).expanduser().absolute())] if ssh_config else []
    words += ["-o", f"ProxyJump={jump}"] if jump else []
    host = found["host"].strip("[]")
    return text, Reach(
        host, found["user"], int(found["port"]) if found["port"] else None, None, " ".join(map(quoted, words))
    )


def quoted(word: object) -> str:
    """Return a word of ssh's arguments as it may stand in an inventory."""
    text = str(word)
    return text if re.fullmatch(r"[\w@%+=:,./\[\]-]+", text) else '"' + text.replace('"', '\\"') + '"'


@contextlib.contextmanager
def written_inventory(accounts: dict[str, Reach], locks: Path) -> Iterator[Path]:
    """Write an inventory of named accounts for as long as the block lasts; what is kept beside one goes to `locks`."""
    hosts = {}
    for name, reach in accounts.items():
        words = {
            "ansible_host": reach.host,
            "ansible_user": reach.user,
            "ansible_port": reach.port,
            "ansible_ssh_private_key_file": reach.key,
            "ansible_ssh_common_args": reach.args,
            "ansible_become": bool(reach.identity),
            "ansible_become_user": reach.become,
        }
        hosts[name] = {key: value for key, value in words.items() if value}
    with converge.private_folder() as folder:
        path = folder / "hosts.json"
        path.write_text(json.dumps({"all": {"hosts": hosts, "vars": {"jupyter_locks": str(locks)}}}))
        yield path


@contextlib.contextmanager
def chosen_inventory(
    hosts: Sequence[str], *, inventory: Sequence[str], jump: str | None, ssh_config: str | None, store: Store
) -> Iterator[tuple[converge.Inventory, list[str], dict[str, Reach]]]:
    """Choose between the inventory and hosts named on the spot.

    Yields:
        The inventory, the host patterns for it, and the accounts whose way is known already.

    Raises:
        SetupError: Neither is there.
        UsageError: Hosts cannot be read.
    """
    usual = content.default_inventory()
    paths = [Path(file).expanduser().absolute() for file in inventory] or ([usual] if usual else [])
    direct = bool(hosts) and (bool(jump) or all("@" in host for host in hosts) or not paths)
    if not inventory and direct:
        known = set(store.names()) if not jump and not ssh_config else set()
        named = [
            (host, store.get(host).ssh) if host in known else read_host(host, jump=jump, ssh_config=ssh_config)
            for host in hosts
        ]
        with written_inventory(dict(named), store.folder("locks")) as written:
            yield written, [], dict(named)
        return
    if jump:
        raise UsageError("-J is for hosts named on the spot.", hint="In an inventory, set ansible_ssh_common_args.")
    if not paths:
        raise SetupError(
            "There is no inventory here.",
            hint="Copy inventory/hosts.example.yml to inventory/hosts.yml, or name the account: nbfleet up user@host.",
        )
    yield paths, list(hosts), {}


def run(
    inventory: converge.Inventory, playbook: str, options: Options, *, ways: dict[str, Reach], watch: Watch
) -> converge.Run:
    """Run a playbook over shared SSH masters; what was not reached is looked at hop by hop, and tried once more.

    Args:
        inventory: The inventory.
        playbook: Its name, such as `site`.
        options: How to run it.
        ways: Accounts whose way is known; their masters are opened first, where questions can be asked.
        watch: Who is told.
    """
    began = time.time()
    open_first(ways)
    with watch.live():
        done = converge.converge(inventory, playbook, options, watch=watch)
    lost = [account for account in done.accounts if account.state == "unreachable"]
    if done.stopped:
        close_since(began)
    if done.stopped or not lost:
        return done
    again = open_again(inventory, lost[:PROBED], options, ways)
    if not again:
        return done
    with watch.live():
        second = converge.converge(inventory, playbook, options.only(again), watch=watch)
    better = {account.name: account for account in second.accounts}
    return converge.Run(
        [better.get(account.name, account) for account in done.accounts],
        [*done.endpoints, *second.endpoints],
        second.stopped,
    )


def open_first(ways: dict[str, Reach]) -> None:
    """Open the masters of accounts named on the spot, one after the other: each may have a question.

    Raises:
        UnreachableError: The only one was not reached. With several, the run says which and why.
    """
    for reach in ways.values():
        try:
            Connection(reach).open()
        except UnreachableError:
            if len(ways) == 1:
                raise


def open_again(
    inventory: converge.Inventory, lost: Sequence[Account], options: Options, known: dict[str, Reach]
) -> list[str]:
    """Try the way to unreachable accounts ourselves: find the hop that refuses, ask where an answer helps.

    Returns:
        The accounts that can be reached now.
    """
    names = [account.name for account in lost]
    if all(name in known for name in names):
        ways = {name: known[name] for name in names}
    else:
        ways = converge.reaches(inventory, options.only(names))
    by_name = {account.name: account for account in lost}

    def attempt(name: str, *, ask: bool) -> NbfleetError | None:
        try:
            Connection(ways[name], ask=ask).open()
        except NbfleetError as error:
            return error
        return None

    with ThreadPoolExecutor(8) as pool:
        results = dict(zip(ways, pool.map(lambda name: attempt(name, ask=False), ways), strict=True))
    for name, error in results.items():
        if can_ask() and isinstance(error, UnreachableError) and (error.data or {}).get("askable"):
            results[name] = attempt(name, ask=True)
    for name, error in results.items():
        if error:
            code = (error.data or {}).get("reason", "unreachable")
            by_name[name].reason = Reason(code, f"was not reached: {str(error).rstrip('.')}", error.hint)
    return [name for name, error in results.items() if error is None]
