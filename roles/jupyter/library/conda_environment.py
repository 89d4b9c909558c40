#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Keep one conda environment as it was asked for; conda itself is called only when something is missing."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.conda_apply import Outcome, carry_out, decide_by, to_send
from ansible.module_utils.conda_kernels import kernels_of, planned_kernel, planned_variables
from ansible.module_utils.conda_link import HOUSE, is_missing, why_not
from ansible.module_utils.conda_records import LOCK, Environment, write
from ansible.module_utils.conda_run import one_at_a_time
from ansible.module_utils.conda_solve import solve
from ansible.module_utils.conda_specs import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = r"""
module: conda_environment
short_description: Keep one conda environment as it was asked for
description:
  - Decides by the records in C(conda-meta) alone, without a call of conda, what is missing.
  - When something is missing, calls conda once, one call at a time for each prefix, and looks again afterwards.
  - With a lock, every package of it is there with its hash, without a solve; what the user added stays. The linker
    does that without conda where it can.
  - What another hand made is used as it is, and changed only with O(adopt) or when it is the base environment.
options:
  conda_prefix:
    description: Where conda lives.
    type: path
    required: true
  environment:
    description: Folder of the environment; the same as O(conda_prefix) means the base environment.
    type: path
    required: true
  specs:
    description: What has to be there, such as C(notebook>=7), C(python=3.12), C(ipython).
    type: list
    elements: str
    default: []
  channels:
    description: Channels to install from, the first one first; no other channel is used.
    type: list
    elements: str
    default: [conda-forge]
  lock:
    description: Text of an C(@EXPLICIT) file with hashes; empty for a solve.
    type: str
    default: ""
  adopt:
    description: Install also into an existing environment that another hand made.
    type: bool
    default: false
  kernel_for:
    description: Folder of the Jupyter environment in which the kernel of this environment is registered.
    type: path
  kernel_name:
    description: Name of the kernel; needed with O(kernel_for).
    type: str
  kernel_display_name:
    description: What Jupyter shows; default is the kernel's name.
    type: str
  variables_file:
    description: File for the variables that the environment's C(activate.d) scripts set, in systemd's form.
    type: path
  timeout:
    description: Seconds that one call of conda, or the wait for another one, may take.
    type: int
    default: 3600
  verify:
    description: Compare every file with what its package brought, and install the altered packages afresh.
    type: bool
    default: false
  linker:
    description: Wheel of py-rattler on the account, which installs a lock in a tenth of conda's time; empty for none.
    type: str
    default: ""
  linker_sha256:
    description: Hash of O(linker); it is unpacked once, beside conda.
    type: str
    default: ""
  network:
    description:
      - What may be downloaded here. With V(index), packages of a lock come in O(packages), and a solve asks the
        channels; with V(none), nothing is downloaded and nothing can be solved for.
    type: str
    choices: [all, index, none]
    default: all
  packages:
    description: File with the packages that RV(packages_missing) named; it is unpacked into the cache and removed.
    type: str
    default: ""
  caches:
    description: Package caches of others on this machine, read only; packages are linked from there, or copied.
    type: list
    elements: path
    default: []
  keep:
    description: With V(solved), text of a lock whose packages are kept at their versions.
    type: str
    default: ""
  update:
    description: With V(solved), names of packages of O(keep) that are not kept.
    type: list
    elements: str
    default: []
  state:
    description:
      - With V(absent), environments that this module made are removed, with the kernels registered in them.
      - With V(solved), nothing is changed; the answer is the lock of what a new environment would get.
    type: str
    choices: [present, absent, solved]
    default: present
author: nbfleet
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Keep Jupyter installed
  conda_environment:
    conda_prefix: /home/robert/miniconda3
    environment: /home/robert/miniconda3/envs/jupyter
    specs: [jupyter, notebook>=7]
"""

RETURN = r"""
missing:
  description: The specs that were not met before.
  returned: state is present
  type: list
  elements: str
removed:
  description: The environments that went, or in check mode would go.
  returned: state is absent
  type: list
  elements: str
explicit:
  description: An C(@EXPLICIT) text with hashes, the lock of what was solved.
  returned: state is solved, or a solve has just made the environment; else empty
  type: str
linked_by:
  description: Who installed packages, rattler or conda; empty when nobody had to.
  returned: state is present
  type: str
linker_missing:
  description: Whether the linker has to be sent first; nothing was changed then.
  returned: state is present
  type: bool
packages_missing:
  description: Packages of the lock (stem, url, digest) that have to be sent first; nothing was changed then.
  returned: state is present
  type: list
  elements: list
linker_refused:
  description: Why conda installed the lock and not the linker, in a sentence.
  returned: state is present
  type: str
revision:
  description: Changes only when this module changed the environment; empty while unknown.
  returned: state is present
  type: str
"""


def ensure_present(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Bring the environment, its variables file and its kernelspec to what was asked for."""
    base = Path(params["conda_prefix"])
    environment = Environment(Path(params["environment"]), base)
    plan = decide_by(environment, params)
    outcome, diffs = Outcome(), []
    if plan.how:
        header = f"{environment.path} (packages)"
        diffs.append({"before_header": header, "after_header": header, "before": plan.before, "after": plan.after})
        if not check_mode:
            if not (base / "bin" / "conda").exists():
                raise Refusal(f"there is no conda in {base}; install it first")
            linker, digest = params["linker"], params["linker_sha256"]
            lacks = plan.how == "explicit" and not why_not(linker, digest, base) and is_missing(linker, digest, base)
            packages = [] if params["packages"] else to_send(environment, plan, params)
            if lacks or packages:
                first = {"linker_missing": lacks, "packages_missing": packages}
                return {"changed": True, "missing": plan.wanting, "diff": diffs, **first}
            outcome = carry_out(environment, params)
    before, after = planned_variables(environment, params["variables_file"])
    if before != after:
        # Variables may hold secrets of the site: their names are enough for a diff.
        header = f"{params['variables_file']} (names only)"
        diffs.append(
            {"before_header": header, "after_header": header, "before": _names(before), "after": _names(after)}
        )
        if not check_mode:
            write(Path(params["variables_file"]), after, 0o600)
    file, before, after = planned_kernel(environment, params)
    if file and before != after:
        diffs.append({"before_header": str(file), "after_header": str(file), "before": before, "after": after})
        if not check_mode:
            write(file, after, 0o644)
    # A repair brings back the very packages, so the revision stays.
    known = "" if check_mode and (plan.wanting or plan.gone) else environment.marker.get("revision", "")
    if known and params["variables_file"]:
        _, variables = planned_variables(environment, params["variables_file"])
        known = hashlib.sha256((known + variables).encode()).hexdigest()[:12] if variables else known
    answer = {"changed": bool(diffs), "missing": plan.wanting, "revision": known, "diff": diffs}
    return {**answer, **outcome._asdict(), "linker_missing": False, "packages_missing": []}


def ensure_solved(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:  # noqa: ARG001 - it only looks
    """Say which packages a new environment would get."""
    return {"changed": False, "explicit": solve(params)}


def _names(text: str) -> str:
    return "".join(f"{line.partition('=')[0]}\n" for line in text.splitlines())


def ensure_absent(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Remove what we made: kernelspecs, their environments, the environment itself."""
    base = Path(params["conda_prefix"])
    jupyter = Environment(Path(params["environment"]), base)
    gone: list[Path] = []
    targets = kernels_of(jupyter.path)
    for folder, target in targets.items():
        gone += [folder, *_removable(Environment(target, base), base)]
    gone += _removable(jupyter, base)
    if params["variables_file"]:
        gone.append(Path(params["variables_file"]))
    gone = [path for path in dict.fromkeys([*gone, base / LOCK, base / HOUSE]) if path.exists()]
    if gone and not check_mode:
        with one_at_a_time(base, seconds=params["timeout"]) if base.is_dir() else contextlib.nullcontext():
            for path in gone:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
    diff = {"before": "".join(f"{path}\n" for path in gone), "after": ""}
    removed = [str(path) for path in gone if path in (jupyter.path, *targets.values())]
    return {"changed": bool(gone), "removed": removed, "diff": [diff] if gone else []}


def _removable(environment: Environment, base: Path) -> list[Path]:
    beside = [environment.begun_file, environment.lock_file]
    if (environment.marker.get("made") or environment.half_made) and environment.path != base:
        return [environment.path, *beside]
    return [environment.marker_file, *beside]


def main() -> None:
    """Read the arguments, act, and answer."""
    module = AnsibleModule(
        argument_spec={
            "conda_prefix": {"type": "path", "required": True},
            "environment": {"type": "path", "required": True},
            "specs": {"type": "list", "elements": "str", "default": []},
            "channels": {"type": "list", "elements": "str", "default": ["conda-forge"]},
            "lock": {"type": "str", "default": ""},
            "adopt": {"type": "bool", "default": False},
            "kernel_for": {"type": "path"},
            "kernel_name": {"type": "str"},
            "kernel_display_name": {"type": "str"},
            "variables_file": {"type": "path"},
            "timeout": {"type": "int", "default": 3600},
            "verify": {"type": "bool", "default": False},
            "linker": {"type": "str", "default": ""},
            "linker_sha256": {"type": "str", "default": ""},
            "network": {"type": "str", "choices": ["all", "index", "none"], "default": "all"},
            "packages": {"type": "str", "default": ""},
            "caches": {"type": "list", "elements": "path", "default": []},
            "keep": {"type": "str", "default": ""},
            "update": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent", "solved"], "default": "present"},
        },
        required_by={"kernel_for": ["kernel_name"]},
        supports_check_mode=True,
    )
    acts: dict[str, Callable[..., dict[str, Any]]] = {
        "present": ensure_present,
        "absent": ensure_absent,
        "solved": ensure_solved,
    }
    act = acts[module.params["state"]]
    try:
        module.exit_json(**act(module.params, check_mode=module.check_mode))
    except Refusal as refusal:
        module.fail_json(msg=f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.")
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or module.params['environment']}: {error.strerror or error}; "
            "free some space, or give the folder back to its user."
        )


if __name__ == "__main__":
    main()
