"""What can go wrong for a user, each with its exit code and the next step."""

from __future__ import annotations

import enum
from typing import Any


class Exit(enum.IntEnum):
    """Exit codes of the command; docs/exit-codes.md explains them, and a test compares both."""

    OK = 0
    BUG = 1
    USAGE = 2
    SETUP = 3
    UNREACHABLE = 4
    FAILED = 5
    FORWARD = 6
    PARTIAL = 7
    INTERRUPTED = 130


class NbfleetError(Exception):
    """A failure that the user can act on.

    Args:
        message: One sentence that names the account or the thing.
        hint: The next step, one sentence.
        data: What was achieved before the failure, for `--json`.
    """

    exit = Exit.BUG

    def __init__(self, message: str, *, hint: str = "", data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.data = data

    @property
    def code(self) -> str:
        """Name of the exit code in small letters, as `--json` shows it."""
        return self.exit.name.lower()


class UsageError(NbfleetError):
    """The command line makes no sense."""

    exit = Exit.USAGE


class SetupError(NbfleetError):
    """Something on this computer is missing, before any connection was tried."""

    exit = Exit.SETUP


class UnreachableError(NbfleetError):
    """An account, or a machine on the way to it, could not be reached."""

    exit = Exit.UNREACHABLE


class FailedError(NbfleetError):
    """An account was reached, and what was to be done there failed."""

    exit = Exit.FAILED


class ForwardError(NbfleetError):
    """The way from this computer to the notebook server could not be opened."""

    exit = Exit.FORWARD


class PartialError(NbfleetError):
    """Some accounts are done, others are not."""

    exit = Exit.PARTIAL


class InterruptedRunError(NbfleetError):
    """The user stopped it; the message says what state was left."""

    exit = Exit.INTERRUPTED
