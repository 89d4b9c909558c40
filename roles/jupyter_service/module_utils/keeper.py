# SPDX-License-Identifier: Apache-2.0
"""What every keeper of a service can do: the contract, and the calls of other programs."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Refusal(Exception):  # noqa: N818 - it is an answer, not an accident
    """One sentence for the user: what is wrong, and what to do next."""

    def __init__(self, message: str, journal: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.journal = list(journal)


def fingerprint(files: Sequence[str]) -> str:
    """Return one hash over the contents of all files; a missing one counts as empty."""
    whole = hashlib.sha256()
    for file in files:
        path = Path(file)
        whole.update(hashlib.sha256(path.read_bytes() if path.is_file() else b"").digest())
    return whole.hexdigest()


def telling(log: Sequence[str]) -> str:
    """Return the line that says best why a service did not start: an error's, else a gate's of ours, else the last."""
    lines = [line.strip() for line in log if line.strip()]
    errors = [
        match[1] for line in lines if (match := re.search(r"(?:^|\] )([\w.]*(?:Error|ERROR|Exception): .*)", line))
    ]
    gates = [line for line in lines if re.match(r"Jupyter (?:could|did|answers) |the token file ", line)]
    # Jupyter's own last word for it is that no port is available.
    taken = [
        f"another program listens at {match[1]}; end that one"
        for line in lines
        if (match := re.search(r"The socket (\S+) is already in use", line))
    ]
    return (taken or errors or gates or lines or [""])[-1][:300].rstrip(".")


def call(*argv: str, environ: Mapping[str, str], seconds: float = 60, text: str | None = None) -> tuple[int, str, str]:
    """Run a command to its end; returns status, output and messages."""
    try:
        answer = subprocess.run(
            argv,
            env={**environ, "LC_ALL": "C.UTF-8"},
            **({"stdin": subprocess.DEVNULL} if text is None else {"input": text}),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds,
        )
    except FileNotFoundError:
        return 127, "", f"there is no {argv[0]}"
    except subprocess.TimeoutExpired:
        return 124, "", f"{argv[0]} did not end within {seconds:.0f} s"
    return answer.returncode, answer.stdout, answer.stderr.strip()


class Keeper(ABC):
    """What keeps one service of one account alive.

    Attributes:
        kind: Its name, as it is noted on the account.
        seconds: That a start may take.
        environ: For the programs that are called.
        where: Where a person finds what the service wrote.
    """

    kind: ClassVar[str]

    def __init__(self, *, seconds: int, where: str) -> None:
        self.seconds = seconds
        self.where = where
        self.environ = dict(os.environ)

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether the service runs."""

    @abstractmethod
    def needed(self, *, stale: bool, restart: bool) -> list[str]:
        """Return what has to be done, in order; `stale`: it runs from other files than the present ones."""

    @abstractmethod
    def carry_out(self, steps: Sequence[str]) -> None:
        """Do what `needed` has named.

        Raises:
            Refusal: It cannot be done, or the service does not come up; with its last lines.
        """

    @abstractmethod
    def removable(self) -> list[str]:
        """Return what has to be undone, in order."""

    @abstractmethod
    def undo(self, steps: Sequence[str]) -> None:
        """Do what `removable` has named.

        Raises:
            Refusal: It cannot be done.
        """

    @abstractmethod
    def main_pid(self) -> str:
        """Return the process number of the server."""

    @abstractmethod
    def log(self, since: float) -> list[str]:
        """Return what the service itself wrote since a moment."""

    def arrive(self) -> None:  # noqa: B027 - most are there
        """Wait until the keeper can be spoken to.

        Raises:
            Refusal: It does not come.
        """

    def ask(self, command: Sequence[str]) -> None:
        """Run the command that says whether the service may be restarted.

        Raises:
            Refusal: It may not.
        """
        status, out, said = call(*command, environ=self.environ, seconds=self.seconds)
        if status != 0:
            lines = (said or out).splitlines()
            raise Refusal(f"Jupyter was not restarted: {lines[-1] if lines else f'status {status}'}")

    def failed_to_start(self, said: str, since: float) -> Refusal:
        """Return the refusal of a start that failed."""
        log = self.log(since)
        return Refusal(f"Jupyter did not start ({telling(log) or said}); {self.where}", log[-15:])

    def prove(self, command: Sequence[str]) -> None:
        """Run the command that proves that the service works.

        Raises:
            Refusal: It says no; with the service's last lines.
        """
        environ = {**self.environ, "MAINPID": self.main_pid()}
        status, out, said = call(*command, environ=environ, seconds=self.seconds)
        if status != 0:
            lines = (said or out).splitlines()
            why = lines[-1] if lines else f"status {status}"
            raise Refusal(f"Jupyter runs but does not work ({why}); {self.where}", self.log(time.time() - 600)[-15:])
