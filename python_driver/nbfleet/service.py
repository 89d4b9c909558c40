"""Questions and orders to the service of one account: POSIX shell over SSH, answers as `key=value` lines."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nbfleet import content, keepers, scripts
from nbfleet.errors import FailedError, UnreachableError

if TYPE_CHECKING:
    from nbfleet.endpoint import Endpoint
    from nbfleet.process import Child
    from nbfleet.ssh import Connection

MARK = "nbfleet:"
START_SECONDS = 200  # the unit's own limit is 180


@dataclass(frozen=True)
class Running:
    """A running service.

    Attributes:
        token: Its secret; never shown, never kept.
        started: Whether it had to be started.
        by: The program that a session is in: tmux, screen or setsid; None for another keeper.
    """

    token: str = field(repr=False)
    started: bool
    by: str | None = None


@dataclass(frozen=True)
class Status:
    """What an account says of its service.

    Attributes:
        name: The account.
        keeper: What keeps it running: user, system or session.
        state: systemd's word (active, inactive, failed), `not installed`, or `unreachable`.
        answers: Whether the server answers HTTP at its own listener; None if that could not be asked.
        memory: Bytes of the server with its kernels and terminals; None if unknown.
        since: When it was started, in the machine's words.
        detail: Why, where the state does not speak for itself.
        by: The program that a session is in: tmux, screen or setsid; None for another keeper, and where none runs.
    """

    name: str
    keeper: str
    state: str
    answers: bool | None = None
    memory: int | None = None
    since: str = ""
    detail: str = ""
    by: str | None = None


def ensure_running(connection: Connection, endpoint: Endpoint, *, restart: bool = False) -> Running:
    """Start the service if it is down, or restart it, and read the token: one round trip.

    Raises:
        FailedError: It does not come up, would not come up again, or there is no usable token.
    """
    text = scripts.ENSURE.format(
        token=shlex.quote(endpoint.token_file),
        order="restart" if restart else "start",
        again="yes" if restart else "no",
        readable=shlex.quote(content.role_file("jupyter_service", "readable.py")),
    )
    answer = ask(connection, keepers.head(endpoint) + scripts.SAY + text, timeout=START_SECONDS)
    if wrong := answer.get("wrong"):
        raise FailedError(
            f"{endpoint.name}: Jupyter was not restarted: {wrong}.", hint=f"nbfleet up {endpoint.name} writes it anew."
        )
    if answer.get("state") != "active":
        raise FailedError(f"{endpoint.name}: Jupyter does not start: {why(answer)}.", hint=remedy(answer, endpoint))
    token = answer.get("token", "")
    if not token:
        raise FailedError(
            f"{endpoint.name}: the token file {endpoint.token_file} is missing or empty.",
            hint=f"Run nbfleet up {endpoint.name}; it makes a new one.",
        )
    return Running(token, answer.get("started") == "yes", answer.get("by") or None)


def status(connection: Connection, endpoint: Endpoint) -> Status:
    """Ask an account how its service is: one round trip."""
    place = endpoint.socket if endpoint.listen == "socket" else str(endpoint.port)
    text = scripts.SURVEY.format(
        listen=shlex.quote(endpoint.listen),
        place=shlex.quote(place or ""),
        base_url=shlex.quote(endpoint.base_url),
    )
    answer = ask(connection, keepers.head(endpoint) + scripts.SAY + text, timeout=30)
    state = answer.get("state", "unknown")
    if answer.get("load") == "not-found":
        state = "not installed"
    memory = next((int(m) for m in (answer.get("memory", ""), answer.get("resident", "")) if m.isdigit()), None)
    reached = {"yes": True, "no": False}.get(answer.get("answers", ""))
    since = answer.get("since", "") if state == "active" else ""
    detail = why(answer) if answer.get("log") else ""
    by = answer.get("by") or None
    return Status(endpoint.name, endpoint.keeper, state, reached, memory, since, detail, by)


def journal(connection: Connection, endpoint: Endpoint, *, lines: int) -> tuple[str | None, list[str]]:
    """Return what a session is in, as `Status.by`, and the last lines of what the service wrote.

    There are none if the account may not read them or nothing was written.
    """
    text = keepers.head(endpoint) + scripts.SAY + f'say "by=$(by)"\nlog {lines} short-iso\n'
    by, *found = connection.run(text, timeout=60).out.partition(f"{MARK}by=")[2].splitlines() or [""]
    return by or None, [] if found == ["-- No entries --"] else found


def follow(connection: Connection, endpoint: Endpoint, *, lines: int) -> Child[str]:
    """Start to follow what it writes; the caller reads the child's output and ends it."""
    return connection.stream(keepers.follow(endpoint, lines=lines))


def ask(connection: Connection, script: str, *, timeout: float) -> dict[str, str]:
    """Run one of our scripts on an account and return what it says.

    Raises:
        UnreachableError: Something else ran in its place.
    """
    answer = answers(connection.run(script, timeout=timeout).out)
    if not answer:
        raise UnreachableError(
            f"{connection.reach.title} runs another command than the one it is asked for (ForceCommand, or command=).",
            hint="Ask who runs that machine, or look beside the key in authorized_keys, for a login without it.",
        )
    return answer


def answers(out: str) -> dict[str, str]:
    """Return the `key=value` lines with our mark; the noise of shell start-up files around them does not matter."""
    marked = (line.removeprefix(MARK) for line in out.splitlines() if line.startswith(MARK))
    return dict(line.split("=", 1) for line in marked if "=" in line)


def why(answer: dict[str, str]) -> str:
    """Return the cause of a failed start, as far as the account told."""
    if answer.get("load") == "not-found":
        return "its unit is not installed"
    words = answer.get("log") or answer.get("words") or f"its keeper says {answer.get('state') or 'nothing'}"
    return " ".join(words.split()).rstrip(".")[:300]


def remedy(answer: dict[str, str], endpoint: Endpoint) -> str:
    """Return the next step after a failed start."""
    if answer.get("load") == "not-found":
        return f"Run nbfleet up {endpoint.name}."
    return f"Look at nbfleet logs {endpoint.name}; nbfleet up {endpoint.name} puts it right."
