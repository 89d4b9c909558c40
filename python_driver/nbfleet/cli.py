"""The command line: dispatch, rendering, exit codes; the only print, the only catch."""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from nbfleet.arguments import parser
from nbfleet.display import Display
from nbfleet.errors import Exit, InterruptedRunError, NbfleetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbfleet.answer import Answer

VERSION = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    verb, shown = "", False
    display = Display()
    try:
        args = parser().parse_args(words)
        verb, as_json = args.verb, args.json
        display = Display(quiet=args.quiet, verbose=bool(args.verbose) or getattr(args, "diff", False))
        answer: Answer = importlib.import_module(f"nbfleet.verbs.{verb}").run(args, display)
        show(verb, answer, display, as_json=as_json)
        shown = True
        for line in answer.lines or ():
            out(line)
        if answer.then:
            answer.then()
    except NbfleetError as error:
        return fail(verb, error, display, as_json=as_json and not shown)
    except KeyboardInterrupt:
        if shown:
            return Exit.OK  # what goes on after the answer is ended that way
        return fail(verb, InterruptedRunError("Interrupted."), display, as_json=as_json and not shown)
    except BrokenPipeError:
        # The reader of our output has gone; nothing is left to be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception as error:  # a defect of ours: the traceback goes to a file, not to the user
        return fail(verb, broken(error), display, as_json=as_json and not shown)
    return answer.error.exit if answer.error else Exit.OK


def broken(error: Exception) -> NbfleetError:
    """Keep the traceback of a defect in a private file, and return the sentence that names it."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="nbfleet-defect-", suffix=".txt", delete=False) as file:
        file.write("".join(traceback.format_exception(error)))
    return NbfleetError(f"nbfleet itself broke: {type(error).__name__}: {error}.", hint=f"Report it with {file.name}.")


def show(verb: str, answer: Answer, display: Display, *, as_json: bool) -> None:
    """Print an answer: the object, or the text and, for people, the error beside it."""
    if as_json:
        out(json.dumps(envelope(verb, answer.data, answer.error)))
        return
    if answer.text:
        out(answer.text)
    if answer.error:
        explain(answer.error, display)


def out(text: str) -> None:
    """Print to standard output, at once."""
    print(text, flush=True)  # noqa: T201 - the only one


def fail(verb: str, error: NbfleetError, display: Display, *, as_json: bool) -> int:
    """Say why it failed, and return the exit code."""
    if as_json:
        out(json.dumps(envelope(verb, error.data if isinstance(error.data, dict) else None, error)))
    else:
        explain(error, display)
    return error.exit


def explain(error: NbfleetError, display: Display) -> None:
    """Say an error and its next step."""
    display.error(f"Error: {error}")
    if error.hint:
        display.error(f"Next: {error.hint}")


def envelope(verb: str, data: dict[str, Any] | None, error: NbfleetError | None) -> dict[str, Any]:
    """Return the one object of `--json` (docs/json.md)."""
    words = {"code": error.code, "message": str(error), "hint": error.hint} if error else None
    return {
        "version": VERSION,
        "command": verb or None,
        "exit_code": int(error.exit if error else Exit.OK),
        "data": data,
        "error": words,
    }
