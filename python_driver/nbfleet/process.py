"""The one place that starts other programs: argv lists, never a shell."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nbfleet.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Child = subprocess.Popen


@dataclass(frozen=True)
class Done:
    """A program that has ended.

    Attributes:
        code: Its exit status; 124 when it was stopped at the deadline.
        out: Its standard output, which may carry a secret and stays out of the repr.
        err: Its standard error.
    """

    code: int
    out: str = field(repr=False)
    err: str


def run(
    argv: Sequence[str],
    *,
    text: str | None = None,
    timeout: float | None = None,
    keep_output: bool = True,
    own_session: bool = False,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Done:
    """Run a program to its end.

    Args:
        argv: The program and its arguments.
        text: What it reads on standard input; nothing if omitted.
        timeout: Seconds until it is killed.
        keep_output: False for a program that leaves a background process behind, which would keep a
            pipe open for ever.
        own_session: True keeps the Ctrl-C of this terminal away from it, and the terminal's prompts too.
        env: Its whole environment; this process's own if omitted.
        cwd: Its folder.

    Raises:
        SetupError: The program is not installed.
    """
    # The background part of ssh inherits standard error: a file cannot block us as a pipe would.
    with tempfile.TemporaryFile("w+", errors="replace") as err:
        try:
            done = subprocess.run(
                argv,
                input=text,
                stdin=subprocess.DEVNULL if text is None else None,
                stdout=subprocess.PIPE if keep_output else subprocess.DEVNULL,
                stderr=err,
                text=True,
                errors="replace",
                timeout=timeout,
                start_new_session=own_session,
                env=env,
                cwd=cwd,
                check=False,
            )
            code, out = done.returncode, done.stdout or ""
        except FileNotFoundError as error:
            raise missing(argv[0]) from error
        except subprocess.TimeoutExpired:
            code, out = 124, ""
        err.seek(0)
        return Done(code, out, err.read())


def start(argv: Sequence[str], *, keep: Sequence[int] = ()) -> Child[str]:
    """Start a program that talks over pipes for as long as it lives, out of reach of this terminal's Ctrl-C.

    Args:
        argv: The program and its arguments.
        keep: Open files that it inherits.
    """
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            bufsize=1,
            start_new_session=True,
            pass_fds=keep,
        )
    except FileNotFoundError as error:
        raise missing(argv[0]) from error


def beside(argv: Sequence[str]) -> Child[bytes]:
    """Start a program that shares this one's terminal, where it may ask, and its standard error."""
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL)


def detach(argv: Sequence[str], *, log: IO[str], env: Mapping[str, str] | None = None) -> Child[bytes]:
    """Start a program that outlives this one and writes its words to a log."""
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=env, close_fds=True
    )


def end(child: Child[str], *, grace: float = 1.0) -> None:
    """End a started program: politely, then after `grace` seconds by force.

    Its output is left open: who reads it sees its end, and to close it under a reader would wait for that.
    """
    if child.stdin:
        with contextlib.suppress(OSError):
            child.stdin.close()
    child.terminate()
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def descendants(pid: int) -> list[int]:
    """Return all processes below `pid`; Linux only, an empty list elsewhere."""
    found: list[int] = []
    queue = [pid]
    while queue:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{queue.pop()}/task").iterdir():
                children = [int(word) for word in (task / "children").read_text().split()]
                found += children
                queue += children
    return found


def missing(program: str) -> SetupError:
    """Return the error for a program that is not installed."""
    return SetupError(f"The program {program} is not installed here.", hint=f"Install {program} and try again.")
