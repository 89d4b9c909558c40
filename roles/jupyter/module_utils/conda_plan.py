# SPDX-License-Identifier: Apache-2.0
"""The decision: what has to be done to an environment, by its records alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from .conda_locks import lock_difference, parse_lock
from .conda_records import archive_hashes, stem_of
from .conda_specs import Record, Refusal, parse_spec, parse_stem, unmet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from .conda_records import Environment


class Plan(NamedTuple):
    """What has to be done, and how it looks in a diff."""

    how: str  # "" (nothing), "create", "install" or "explicit"
    wanting: list[str]  # specs; with a lock, packages as name-version-build
    before: str = ""
    after: str = ""
    gone: tuple[str, ...] = ()  # names of packages that an earlier lock brought and this one lacks
    altered: tuple[str, ...] = ()  # names of packages with files that are not theirs any more


def decide(
    environment: Environment,
    base: Path,
    specs: Sequence[str],
    lock: str,
    *,
    adopt: bool,
    here: str,
    glibc: str = "",
    verify: bool = False,
) -> Plan:
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
        plan = _plan_lock(environment, specs, lock, here, glibc)
    elif environment.half_made or not environment.exists:
        plan = Plan("create", list(specs), "", "".join(f"{text}\n" for text in specs))
    else:
        plan = _plan_specs(environment, specs, installed)
    # After an interruption the records alone prove nothing.
    if environment.exists and not environment.half_made and ours and (verify or environment.begun):
        plan = _with_repairs(plan, environment, "explicit" if lock else "install")
    if not plan.how:
        return plan
    if environment.half_made:
        return plan
    if environment.exists and not ours and not is_base and not adopt:
        raise Refusal(
            f"{environment.path} was not made by nbfleet and lacks {', '.join([*plan.wanting, *plan.gone][:5])}; "
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


def _plan_lock(environment: Environment, specs: Sequence[str], lock: str, here: str, glibc: str) -> Plan:
    wanted = parse_lock(lock, here, glibc)
    names = {record.name: record for stem in wanted if (record := parse_stem(stem))}
    left_out = unmet(specs, names)
    if left_out:
        raise Refusal(f"the lock does not hold {', '.join(left_out)}; make a new lock or do not ask for it")
    if environment.half_made or not environment.exists:
        return Plan("explicit", sorted(wanted), "", "".join(f"{stem}\n" for stem in sorted(wanted)))
    details = environment.details()
    add = lock_difference(wanted, archive_hashes(details))
    gone = outgoing(details, environment.marker.get("packages", []), names)
    replaced = {name for stem in add if (record := parse_stem(stem)) and (name := record.name) in details}
    if not add and not gone and not environment.begun and not environment.damaged():
        return Plan("", [])
    before = "".join(f"{stem_of(details[name])}\n" for name in sorted({*replaced, *gone}))
    return Plan("explicit", add, before, "".join(f"{stem}\n" for stem in add), tuple(gone))


def outgoing(details: Mapping[str, Mapping[str, Any]], ours: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Return the packages that we brought, that are not wanted any more and that nothing the user added needs."""
    going = (set(ours) & details.keys()) - set(wanted)
    asking = [name for name in details if name not in going and name not in wanted]
    while asking:
        needs = {
            re.split(r"[\s=<>!~\[]", str(text), maxsplit=1)[0] for text in details[asking.pop()].get("depends", [])
        }
        asking += sorted(needs & going)
        going -= needs
    return sorted(going)


def _with_repairs(plan: Plan, environment: Environment, how: str) -> Plan:
    renewed = (
        {record.name for stem in plan.wanting if (record := parse_stem(stem))} if plan.how == "explicit" else set()
    )
    found = {name: files for name, files in environment.altered().items() if name not in {*renewed, *plan.gone}}
    if not found:
        return plan
    before = "".join(f"{name}: {file} was altered\n" for name, files in found.items() for file in files)
    return plan._replace(how=plan.how or how, before=plan.before + before, altered=tuple(found))
