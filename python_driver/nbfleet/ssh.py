"""The one way to talk SSH: a shared master per hop, and everything else over it."""

from __future__ import annotations

import functools
import shlex
import shutil
import sys
from typing import TYPE_CHECKING

from nbfleet import client, process
from nbfleet.control import PERSIST, control_folder, ssh_program, write_config
from nbfleet.endpoint import Reach, read_hop
from nbfleet.errors import ForwardError, UnreachableError
from nbfleet.explain import last_line, runs_nothing, ssh_reason

if TYPE_CHECKING:
    from nbfleet.process import Child, Done


NO_SESSION = "Session open refused by peer"  # the server's MaxSessions


def can_ask() -> bool:
    """Tell whether somebody sits at a terminal and can answer ssh's questions."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


class Connection:
    """The way to one account.

    Args:
        reach: The account, in the words of the inventory.
        ask: Whether ssh may ask at the terminal; by default, if there is one.
    """

    def __init__(self, reach: Reach, *, ask: bool | None = None) -> None:
        self.reach = reach
        self.ask = can_ask() if ask is None else ask
        self.folder = control_folder()
        self._ssh = ssh_program(self.folder)

    def open(self, *, behind: str = "") -> None:
        """Open the masters of all hops, the nearest first; those that live are used.

        Args:
            behind: The account that this one is a hop to, for the error's sentence.

        Raises:
            UnreachableError: A hop could not be reached; the sentence names it.
        """
        if self.alive():
            return
        for hop in self.hops()[-1:]:  # the last one's own hops are those before it
            Connection(hop, ask=self.ask).open(behind=behind or self.reach.title)
        self._open_one(behind=behind)

    def alive(self) -> bool:
        """Tell whether the account's master lives."""
        return self._master("check").code == 0

    def answers(self, *, seconds: float) -> bool:
        """Tell whether the far side still answers over the account's master, within a limit."""
        return process.run([*self._over_master(), "true"], timeout=seconds, own_session=True).code == 0

    def run(self, script: str, *, timeout: float = 60) -> Done:
        """Run a POSIX shell script on the account, whatever its login shell is; the script is not in any argv.

        A master that ends under it is opened anew and the script run once more, so it has to be one that may be.

        Raises:
            UnreachableError: The connection broke, or nothing came back in time.
        """
        shell = self.command(["sh", "-s"])
        done = process.run([*self._over_master(), shell], text=script, timeout=timeout, own_session=True)
        if done.code == 255 and NO_SESSION in done.err:
            done = process.run([*self._alone(), shell], text=script, timeout=timeout, own_session=True)
        elif done.code == 255 and not self.alive():  # dead since this computer slept or the hop was gone
            self.open()
            done = process.run([*self._over_master(), shell], text=script, timeout=timeout, own_session=True)
        if done.code == 124:
            raise UnreachableError(
                f"{self.reach.title} did not finish within {timeout:.0f} s.",
                hint="Its machine may be overloaded; try again.",
            )
        if done.code == 255 or runs_nothing(done.out + done.err):
            raise self._unreachable(done.err + done.out)
        if done.code != 0 and self.reach.identity:
            self._require_become()
        return done

    def command(self, words: list[str]) -> str:
        """Return what the far shell is given to run a command as the account's user."""
        return shlex.join([*self.reach.identity, *words])

    def stream(self, words: list[str]) -> Child[str]:
        """Start a command on the account and leave its pipes to the caller."""
        return process.start([*self.session(), self.command(words)])

    def session(self) -> list[str]:
        """Return the words that begin a lasting session: over the master, if its server allows one more there."""
        tried = process.run([*self._over_master(), "true"], timeout=20, own_session=True)
        return self._alone() if NO_SESSION in tried.err else self._over_master()

    @property
    def path(self) -> str:
        """Where the account's master is."""
        return self._settings["controlpath"]

    def forward(self, local_port: int, destination: str) -> None:
        """Let the master listen on 127.0.0.1 and carry connections to the account's socket or port.

        Raises:
            ForwardError: The local port is taken.
        """
        done = self._master("forward", "-L", f"127.0.0.1:{local_port}:{destination}")
        if done.code != 0:
            raise ForwardError(
                f"The local port {local_port} could not be opened: it is taken by another program.",
                hint="End that program, or choose another port with --port.",
            )

    def cancel(self, local_port: int, destination: str) -> None:
        """Close a forward; one that is not there is no error."""
        self._master("cancel", "-L", f"127.0.0.1:{local_port}:{destination}")

    def close(self) -> None:
        """End the account's master, and with it all that runs over it."""
        self._master("exit")

    def hops(self) -> list[Reach]:
        """Return the machines to jump through, the nearest first."""
        jump = self._settings.get("proxyjump", "none")
        if jump == "none":
            return []
        names = jump.split(",")
        return [read_hop(name, before=names[:at], config=self.reach.config) for at, name in enumerate(names)]

    def _open_one(self, *, behind: str) -> None:
        """Open this master: first without questions, then, if an answer may help, at the terminal."""
        words = [self._ssh, "-o", "ControlMaster=auto", "-o", f"ControlPersist={PERSIST}", "-N", "-f"]
        done = process.run([*words, *self._words(batch=True)], keep_output=False, own_session=True, timeout=60)
        if done.code != 0 and self.ask and ssh_reason(done.err, where="").askable:
            done = process.run([*words, *self._lasting_jump(), *self._words(batch=False)], keep_output=False)
        if done.code != 0:
            said = done.err or ("timed out" if done.code == 124 else "")
            before = "".join(hop.title for hop in self.hops()[-1:])
            raise self._unreachable(self._words_of_the_hop(said), before=before, behind=behind)

    def _lasting_jump(self) -> list[str]:
        """Return words for a jump that outlives the terminal at which ssh asked: closing it would end the jump."""
        hops = self.hops()
        if not hops or not shutil.which("setsid") or client.version() < client.STDIO_FORWARD:
            return []
        hop = Connection(hops[-1], ask=False)
        path = hop._settings["controlpath"]
        jump = f"setsid {shlex.quote(self._ssh)} -F none -o ControlPath={path} -W [%h]:%p {hop.reach.host}"
        return ["-o", f"ControlPath={self.path}", "-o", f"ProxyCommand={jump}"]

    def _words_of_the_hop(self, words: str) -> str:
        """Return why the last hop did not let us through; ssh silences it for a connection in the background."""
        hops = self.hops()
        if not hops or "UNKNOWN port 65535" not in words:
            return words
        hop = Connection(hops[-1], ask=False)
        way = f"[{self._settings['hostname']}]:{self._settings['port']}"
        alone = ["-o", "ControlMaster=no", "-o", "ControlPath=none", "-W", way]
        done = process.run([self._ssh, *alone, *hop._words(batch=True)], own_session=True, timeout=30)
        return done.err or words

    def _unreachable(self, words: str, *, before: str = "", behind: str = "") -> UnreachableError:
        reason = ssh_reason(words, where=self.reach.title, before=before)
        way = f", on the way to {behind}," if behind else ""
        error = UnreachableError(f"{self.reach.title}{way} {reason.says}.", hint=reason.hint)
        error.data = {"reason": reason.code, "askable": reason.askable}
        return error

    def _require_become(self) -> None:
        """Ask whether the admin may become the account's user at all.

        Raises:
            UnreachableError: Not so, in sudo's own words.
        """
        done = process.run([*self._over_master(), self.command(["true"])], timeout=20, own_session=True)
        if done.code != 0:
            says = f"{self.reach.title} may not become {self.reach.become} there ({last_line(done.err)})."
            raise UnreachableError(says, hint="Ask who runs that machine for a sudo rule with NOPASSWD.")

    @functools.cached_property
    def _settings(self) -> dict[str, str]:
        """What ssh itself makes of its configuration for this account."""
        done = process.run([self._ssh, "-G", *self._words(batch=True)], timeout=20)
        if done.code != 0:
            raise self._unreachable(done.err)
        return dict(line.split(" ", 1) for line in done.out.splitlines() if " " in line)

    def _words(self, *, batch: bool) -> list[str]:
        config = write_config(self.folder, user_config=self.reach.config, batch=batch)
        path = ["-o", f"ControlPath={self.folder}/%C"]
        return ["-F", str(config), *path, *self.reach.options, "--", self.reach.host]

    def _over_master(self) -> list[str]:
        """Words for an ssh that uses the open master and reads no configuration: none of its forwards, no new login."""
        path = ["-o", f"ControlPath={self.path}", "-o", "BatchMode=yes"]
        return [self._ssh, "-F", "none", *path, "-T", "-o", "ProxyCommand=false", "--", self.reach.host]

    def _alone(self) -> list[str]:
        """Words for an ssh with a login of its own, where MaxSessions leaves the master no room."""
        return [self._ssh, "-o", "ControlMaster=no", "-o", "ControlPath=none", "-T", *self._words(batch=True)]

    def _master(self, order: str, *words: str) -> Done:
        way = ["-o", f"ControlPath={self.path}"]
        return process.run([self._ssh, "-F", "none", *way, "-O", order, *words, "--", self.reach.host], timeout=20)
