# SPDX-License-Identifier: Apache-2.0
"""The decision: what has to be done to an environment, by its records alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .conda_locks import lock_difference, parse_lock
from .conda_specs import Record, Refusal, parse_spec, parse_stem, unmet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .conda_records import Environment


class Plan(NamedTuple):
    """What has to be done, and how it looks in a diff."""

    how: str  # "" (nothing), "create", "install" or "explicit"
    wanting: list[str]
    before: str = ""
    after: str = ""


def decide(environment: Environment, base: Path, specs: Sequence[str], lock: str, *, adopt: bool, here: str) -> Plan:
    """Compare what is there with what was asked for; nothing is changed.

    Raises:
        Refusal: It must not or cannot be done.
    """
    is_base = environment.path == base
    ours = bool(environment.begun or environment.marker)
    if is_base and lock:
        raise Refusal(
            "a lock cannot be applied to the base environment, which holds conda itself; use an environment of its own"
        )
    if environment.in_the_way and not environment.exists and not ours:
        raise Refusal(f"{environment.path} is there and is no conda environment; move it away or choose another folder")
    installed = environment.records()
    made_by_us = bool(environment.marker.get("made"))
    if lock:
        plan = _plan_lock(environment, specs, lock, here)
    elif environment.half_made or not environment.exists:
        plan = Plan("create", list(specs), "", "".join(f"{text}\n" for text in specs))
    else:
        plan = _plan_specs(environment, specs, installed)
    if not plan.how:
        return plan
    if environment.half_made:
        return plan
    if environment.exists and not ours and not is_base and not adopt:
        raise Refusal(
            f"{environment.path} was not made by nbfleet and lacks {', '.join(plan.wanting[:5])}; "
            "choose another folder for the environment, or allow nbfleet to install into this one"
        )
    reason = environment.frozen if environment.exists else None
    if reason is not None:
        raise Refusal(
            f"{environment.path} is frozen{f' ({reason})' if reason else ''}; "
            "let nbfleet use an environment of its own, which is the default"
        )
    damaged = environment.damaged()
    if damaged and not made_by_us:
        raise Refusal(
            f"{environment.path} is damaged ({damaged[0].name} was cut short); "
            "delete that file and reinstall the package"
        )
    return plan


def _plan_specs(environment: Environment, specs: Sequence[str], installed: Mapping[str, Record]) -> Plan:
    wanting = unmet(specs, installed)
    cut_short = [record.name for file in environment.damaged() if (record := parse_stem(file.stem))]
    wanting += [name for name in cut_short if name not in wanting]
    if environment.begun and not wanting:
        wanting = list(specs)
    names = [parse_spec(text).name for text in wanting]
    before = "".join(f"{name}={installed[name].version}\n" for name in names if name in installed)
    return Plan("install" if wanting else "", wanting, before, "".join(f"{text}\n" for text in wanting))


def _plan_lock(environment: Environment, specs: Sequence[str], lock: str, here: str) -> Plan:
    wanted = parse_lock(lock, here)
    records = {record.name: record for stem in wanted if (record := parse_stem(stem))}
    left_out = unmet(specs, records)
    if left_out:
        raise Refusal(f"the lock does not hold {', '.join(left_out)}; make a new lock or do not ask for it")
    fresh = environment.half_made or not environment.exists
    add, take = lock_difference(wanted, {} if fresh else environment.archives())
    if not add and not take and not environment.begun and not environment.damaged():
        return Plan("", [])
    return Plan(
        "explicit", add or sorted(wanted), "".join(f"{stem}\n" for stem in take), "".join(f"{stem}\n" for stem in add)
    )
