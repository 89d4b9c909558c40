"""Talk to the person: standard error only, a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from nbfleet.progress import Account, Event

LONG = 2.0  # seconds from which a task without a change is worth a plain line


class Display:
    """Says what happens.

    Args:
        stream: Where to; standard error by default.
        quiet: Say nothing but what is asked by `error`.
        verbose: Pass on Ansible's own output.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False, verbose: bool = False) -> None:
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self.verbose = verbose
        self.accounts: dict[str, Account] = {}
        self._lock = threading.Lock()
        self._live: Any = None

    @property
    def terminal(self) -> bool:
        """Whether somebody watches."""
        return self.stream.isatty()

    def say(self, text: str) -> None:
        """Say a sentence, unless quiet."""
        if not self.quiet:
            self.error(text)

    def error(self, text: str) -> None:
        """Say a sentence, always."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            if self._live:
                self._live.console.out(text, highlight=False)
            else:
                self.stream.write(text + "\n")
                self.stream.flush()

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Show the accounts for as long as the block lasts; a table on a terminal."""
        self.accounts = {}
        if self.quiet or not self.terminal:
            yield
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self.stream, stderr=True)
        with Live(get_renderable=self.table, console=console, refresh_per_second=4, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Say what begins, and how long it took."""
        began = time.monotonic()
        self.say(f"{name} …")
        yield
        self.say(f"{name}: done in {time.monotonic() - began:.1f} s.")

    def task(self, account: Account, *, ended: bool) -> None:
        """Take note of a task that begins or ends on an account."""
        self.accounts[account.name] = account
        took = time.monotonic() - account.task_began
        if ended and not self._live and account.reason is None and (took >= LONG or self.verbose):
            self.say(f"{account.name}: {account.task} ({took:.1f} s)")

    def event(self, data: Event) -> None:
        """Take in the result of a task, which a table does not show."""

    def words(self, text: str) -> None:
        """Pass Ansible's own output on, if wanted."""
        if self.verbose and text.strip():
            self.say(text)

    def table(self) -> Table:
        """Return the live table: the accounts at work, and one line about the rest."""
        from rich.table import Table as Grid
        from rich.text import Text

        now = time.monotonic()
        accounts = list(self.accounts.values())
        busy = [account for account in accounts if account.state == "running"]
        room = max(3, (self._live.console.height if self._live else 24) - 3)
        table = Grid.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True)
        for account in busy[:room]:
            table.add_row(Text(account.name, style="bold"), account.task, f"{now - account.task_began:.0f} s")
        if (rest := len(accounts) - len(busy[:room])) > 0:
            ended = len(accounts) - len(busy)
            table.add_row(Text(f"{rest} more", style="dim"), f"{ended} of {len(accounts)} have ended", "")
        return table
