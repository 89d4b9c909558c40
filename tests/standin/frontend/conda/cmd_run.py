"""`conda run`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from . import activation, records
from .errors import EnvironmentLocationNotFound

if TYPE_CHECKING:
    import argparse

    from .context import Context


def run(args: argparse.Namespace, context: Context) -> int:
    """`conda run`: activates in a shell of its own, runs the command, gives its exit code."""
    prefix = records.locate(context, args.name, args.prefix)
    if not (prefix / "conda-meta").is_dir():
        raise EnvironmentLocationNotFound(prefix)
    words = args.executable_call
    if words and words[0] == "--":
        words = words[1:]
    if not words:
        sys.stderr.write("usage: conda run [-n ENVIRONMENT | -p PATH] EXECUTABLE_CALL\n")
        return 2
    # As if base had been activated before: that is what conda's own variables then look like.
    environ = dict(os.environ)
    if not environ.get("CONDA_PREFIX"):
        environ |= {"CONDA_PREFIX": str(context.root), "CONDA_SHLVL": "1"}
    step = activation.activate(context, str(prefix), environ, ".sh", stack=False)
    environ |= {"CONDA_ROOT": str(context.root)} | step.export
    shell = shutil.which("bash") or "/bin/sh"
    lines = [f". {shlex.quote(str(path))}" for path in step.enter]
    lines += ["", shlex.join(words)]
    with tempfile.NamedTemporaryFile("w", prefix="tmp", delete=False) as script:
        script.write("\n".join(lines) + "\n")
    try:
        if args.no_capture_output:
            sys.stdout.flush()
            done = subprocess.run([shell, script.name], env=environ, cwd=args.cwd, check=False)
        else:
            captured = subprocess.run(
                [shell, script.name],
                env=environ,
                cwd=args.cwd,
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
            )
            sys.stdout.buffer.write(captured.stdout)
            sys.stdout.flush()
            sys.stderr.buffer.write(captured.stderr)
            done = subprocess.CompletedProcess(captured.args, captured.returncode)
    finally:
        Path(script.name).unlink()
    code = done.returncode if done.returncode >= 0 else 128 - done.returncode
    if code:
        sys.stderr.write(
            f"ERROR conda.cli.main_run:execute(148): `conda run {' '.join(words)}` failed. (See above for error)\n"
        )
    return code
