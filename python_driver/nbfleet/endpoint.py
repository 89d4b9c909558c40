"""All that is needed to reach one account's Jupyter; pure data, no token."""

from __future__ import annotations

import re
import shlex
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from nbfleet.errors import SetupError

VERSION = 1


@dataclass(frozen=True)
class Reach:
    """How SSH reaches an account; the rendered words of the inventory.

    Attributes:
        host: Name or address, or an alias of the user's SSH configuration.
        user: Login name, or None to leave it to the SSH configuration.
        port: Port, or None likewise.
        key: Private key file, or None.
        args: Further ssh arguments as one string, such as `-F FILE -o ProxyJump=bianca@bastion:22522`.
        become: Whom the login, an admin's, becomes by sudo; None where the login is the account's own.
    """

    host: str
    user: str | None = None
    port: int | None = None
    key: str | None = None
    args: str = ""
    become: str | None = None

    @property
    def config(self) -> str | None:
        """The file that `args` names with -F, or None."""
        return self._split()[0]

    @property
    def options(self) -> list[str]:
        """The arguments for ssh without -F and without the host."""
        options = self._split()[1]
        if self.key:
            options += ["-i", self.key]
        if self.port:
            options += ["-p", str(self.port)]
        if self.user:
            options += ["-l", self.user]
        return options

    @property
    def identity(self) -> list[str]:
        """The words before a command that make it the account's own, without what leads to the admin's own services."""
        if not self.become or self.become == self.user:
            return []
        return ["sudo", "-n", "-H", "-u", self.become, "env", "-u", "XDG_RUNTIME_DIR", "-u", "DBUS_SESSION_BUS_ADDRESS"]

    @property
    def title(self) -> str:
        """The account in the words of a user: `robert@remote.example.org:2222`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (f"{self.user}@" if self.user else "") + host + (f":{self.port}" if self.port else "")

    def _split(self) -> tuple[str | None, list[str]]:
        config: str | None = None
        rest: list[str] = []
        words = iter(shlex.split(self.args))
        for word in words:
            if word == "-F":
                config = next(words, None)
            elif word.startswith("-F"):
                config = word[2:]
            else:
                rest.append(word)
        return config, rest


@dataclass(frozen=True)
class Endpoint:
    """One account's Jupyter, as the endpoint role hands it over (docs/json.md)."""

    name: str
    ssh: Reach
    home: str
    user: str
    hostname: str
    uid: int
    listen: str
    socket: str | None
    port: int | None
    base_url: str
    token_file: str
    keeper: str
    unit: str
    root_dir: str

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Endpoint:
        """Read a hand-over.

        Raises:
            SetupError: It is of a version that this driver does not know, or incomplete.
        """
        if data.get("version") != VERSION:
            raise SetupError(
                f"The hand-over of {data.get('name', 'an account')} has version {data.get('version')}, "
                f"this driver knows version {VERSION}.",
                hint="Use the driver and the playbooks of one release.",
            )
        try:
            fields = {key: data[key] for key in cls.__dataclass_fields__ if key != "ssh"}
            ssh = data["ssh"]
            reach = Reach(
                ssh["host"], ssh["user"], number(ssh["port"]), ssh["key"], ssh["args"] or "", ssh.get("become") or None
            )
            return cls(ssh=reach, **{**fields, "uid": int(fields["uid"]), "port": number(fields["port"])})
        except (KeyError, TypeError, ValueError) as error:
            raise SetupError(
                f"The hand-over of {data.get('name', 'an account')} is incomplete: {error}.",
                hint="Run nbfleet up for this account again.",
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Return the hand-over as it is kept."""
        return {"version": VERSION, **asdict(self)}

    @property
    def destination(self) -> str:
        """The far end of the forward: a socket's path, or an address and port."""
        return self.socket if self.listen == "socket" and self.socket else f"127.0.0.1:{self.port}"

    def url(self, local_port: int, *, token: str = "") -> str:
        """Return the address for the browser; with a token it logs in."""
        query = f"?token={quote(token)}" if token else ""
        return f"http://127.0.0.1:{local_port}{self.base_url}{query}"


def read_hop(name: str, *, before: list[str], config: str | None) -> Reach:
    """Return the way to a jump host, as ssh reads it in ProxyJump.

    Args:
        name: `[user@]host[:port]`, or an ssh:// address.
        before: The jump hosts before it.
        config: What was given with -F. Of all arguments ssh hands this one on to a jump host, and so do we.
    """
    found = re.fullmatch(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^]]+\]|[^:]+)(?::(?P<port>\d+))?/?", name)
    if not found:
        return Reach(name)
    words = ["-F", config] if config else []
    words += ["-J", ",".join(before)] if before else []
    return Reach(found["host"].strip("[]"), found["user"], number(found["port"]), None, shlex.join(words))


def number(value: object) -> int | None:
    """Return a port from a hand-over, where templates may have made it a string."""
    return None if value in (None, "") else int(str(value))
