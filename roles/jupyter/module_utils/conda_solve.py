# SPDX-License-Identifier: Apache-2.0
"""A solve without an installation: which packages conda would take, as a lock."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .conda_link import HOUSE
from .conda_locks import conda_platform, explicit_text, parse_lock
from .conda_run import conda_command, explain, one_at_a_time, read_answer, run_conda
from .conda_specs import Refusal, parse_spec, parse_stem, unmet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def pins(keep: str, update: Sequence[str], specs: Sequence[str], here: str) -> list[str]:
    """Return a lock's packages as requests, but for those to update and those that do not meet what is asked for."""
    if not keep:
        return []
    records = {record.name: record for stem in parse_lock(keep, here) if (record := parse_stem(stem))}
    free = {name.lower() for name in update} | {parse_spec(text).name for text in unmet(specs, records)}
    return [f"{name}={one.version}={one.build}" for name, one in sorted(records.items()) if name not in free]


def solve(params: Mapping[str, Any]) -> str:
    """Return the lock of what conda would install into a new environment; nothing is changed.

    Raises:
        Refusal: There is no conda, or no solution.
    """
    base = Path(params["conda_prefix"])
    here = conda_platform(platform.system(), platform.machine())
    if not (base / "bin" / "conda").exists():
        raise Refusal(f"there is no conda in {base}; install it first")
    wanted = [*params["specs"], *pins(params["keep"], params["update"], params["specs"], here)]
    command = conda_command("create", base, base / HOUSE / "solved", params["channels"])
    with one_at_a_time(base, seconds=params["timeout"]) as lock:
        status, stdout, stderr = run_conda([*command, "--dry-run", *wanted], lock=lock, seconds=params["timeout"])
    answer = read_answer(stdout)
    actions = answer.get("actions") or {}
    if not answer.get("success") or not actions.get("LINK"):
        raise Refusal(explain(answer, stderr, status, params["channels"], str(base)))
    # What is in the cache is not fetched, so the answer has no hash of it, but the cache has.
    fetched = {str(record.get("name")): record for record in actions.get("FETCH", [])}
    return explicit_text([fetched.get(one["name"]) or _cached(base / "pkgs", one) for one in actions["LINK"]], here)


def _cached(cache: Path, linked: Mapping[str, Any]) -> dict[str, Any]:
    stem = str(linked["dist_name"])
    try:
        found: dict[str, Any] = json.loads((cache / stem / "info" / "repodata_record.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"name": linked["name"]}
    return {**found, "url": f"{linked['base_url']}/{linked['platform']}/{found['fn']}"}
