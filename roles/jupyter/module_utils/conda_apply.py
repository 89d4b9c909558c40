# SPDX-License-Identifier: Apache-2.0
"""Carrying a plan out, so that the environment is as planned or as it was."""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .conda_locks import conda_platform, lock_difference, parse_lock
from .conda_plan import Plan, decide
from .conda_records import Environment, revision, write
from .conda_run import conda_command, explain, last_line, one_at_a_time, read_answer, run_conda
from .conda_specs import Refusal, unmet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def carry_out(environment: Environment, plan: Plan, params: Mapping[str, Any]) -> None:
    """Make the environment what the plan says, or leave it as it was and say why.

    Raises:
        Refusal: conda failed, or said that it did not.
    """
    base = Path(params["conda_prefix"])
    with one_at_a_time(base, seconds=params["timeout"]) as lock:
        # Another run may have done it while this one waited.
        here = conda_platform(platform.system(), platform.machine())
        plan = decide(environment, base, params["specs"], params["lock"], adopt=params["adopt"], here=here)
        if not plan.how:
            return
        made = plan.how != "install" or bool(environment.marker.get("made"))
        if environment.half_made and environment.path.exists():
            shutil.rmtree(environment.path)
        environment.path.parent.mkdir(parents=True, exist_ok=True)
        write(environment.begun_file, plan.how + "\n", 0o644)
        for file in environment.damaged():
            file.unlink()
        explicit = plan.how == "explicit"
        with (
            _lock_file(environment, params["lock"] if explicit else "") as lock_file,
            _old_aside(environment, needed=explicit),
        ):
            command = conda_command(plan, base, environment.path, params["channels"], lock_file)
            status, stdout, stderr = run_conda(command, lock=lock, seconds=params["timeout"])
            check_result(environment, plan, params, status, read_answer(stdout), stderr)
            note = {"version": 1, "made": made, "specs": list(params["specs"]), "revision": revision(environment)}
            write(environment.marker_file, json.dumps(note, indent=1) + "\n", 0o644)
        environment.begun_file.unlink()


def check_result(
    environment: Environment, plan: Plan, params: Mapping[str, Any], status: int, answer: Mapping[str, Any], stderr: str
) -> None:
    """Believe the records, not the exit status: conda has ended with 0 without having done anything.

    Raises:
        Refusal: The environment is not what the plan says.
    """
    if plan.how == "explicit":
        here = conda_platform(platform.system(), platform.machine())
        still, _ = lock_difference(
            parse_lock(params["lock"], here), environment.archives() if environment.exists else {}
        )
    else:
        still = unmet(plan.wanting, environment.records()) if environment.exists else plan.wanting
    failed = status != 0 and not answer.get("success")
    if not failed and not still:
        return
    if failed and answer and (plan.how == "install" or not environment.path.exists()):
        # conda has rolled back and said why: nothing is half-made.
        environment.begun_file.unlink()
    if failed or answer.get("error") or answer.get("exception_name"):
        raise Refusal(explain(answer, stderr, status, params["channels"]))
    raise Refusal(
        f"conda said that all went well, yet {', '.join(still[:5])} is not there ({last_line(stderr)}); run again"
    )


@contextlib.contextmanager
def _lock_file(environment: Environment, text: str) -> Iterator[Path | None]:
    if not text:
        yield None
        return
    write(environment.lock_file, text if text.endswith("\n") else text + "\n", 0o600)
    try:
        yield environment.lock_file
    finally:
        environment.lock_file.unlink()


@contextlib.contextmanager
def _old_aside(environment: Environment, *, needed: bool) -> Iterator[None]:
    """Keep the environment that is to be replaced until the new one stands; put it back when it does not."""
    if not needed:
        yield
        return
    if environment.exists and not environment.aside.exists():
        environment.path.rename(environment.aside)
    shutil.rmtree(environment.path, ignore_errors=True)
    try:
        yield
    except Refusal:
        shutil.rmtree(environment.path, ignore_errors=True)
        if environment.aside.exists():
            environment.aside.rename(environment.path)
            environment.begun_file.unlink(missing_ok=True)
        raise
    shutil.rmtree(environment.aside, ignore_errors=True)
