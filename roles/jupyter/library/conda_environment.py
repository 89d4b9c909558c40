#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Keep one conda environment as it was asked for; conda itself is called only when something is missing."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils import conda_generations as generations
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.conda_apply import Outcome, carry_out, decide_by, to_send
from ansible.module_utils.conda_beside import Extras, settle
from ansible.module_utils.conda_carry import nothing_added
from ansible.module_utils.conda_compiled import take_over
from ansible.module_utils.conda_kernels import kernels_of, planned_kernel, planned_variables, revision_with
from ansible.module_utils.conda_link import HOUSE, is_missing, why_not
from ansible.module_utils.conda_locks import word
from ansible.module_utils.conda_records import LOCK, Environment, revision, write
from ansible.module_utils.conda_run import one_at_a_time
from ansible.module_utils.conda_solve import solve
from ansible.module_utils.conda_specs import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

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
  kernels:
    description: Names of all kernels that may be registered in this environment by this module; others of its go.
    type: list
    elements: str
  kernel_name:
    description: Name of the kernel; needed with O(kernel_for).
    type: str
  kernel_display_name:
    description: What Jupyter shows; default is the kernel's name.
    type: str
  variables_file:
    description: File for the variables that the environment's C(activate.d) scripts set, in systemd's form.
    type: path
  shared:
    description: Whether root keeps the environment for all users of the machine, who have to read it.
    type: bool
    default: false
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
  generations:
    description: Make a new environment beside its name, which becomes a link, so that another one can take its place.
    type: bool
    default: false
  leave:
    description: With V(beside), packages that a person added and that are not carried over, V(*) for all.
    type: list
    elements: str
    default: []
  running_stays:
    description: With V(beside), whether what runs from the present environment will go on after the switch.
    type: bool
    default: false
  state:
    description:
      - With V(beside), a new generation of the environment is built as O(lock) says, with what a person added to the
        present one; nothing is switched. Nothing is built where the present one is as the lock says.
      - With V(absent), environments that this module made are removed, with the kernels registered in them.
      - With V(solved), nothing is changed; the answer is the lock of what a new environment would get.
    type: str
    choices: [present, beside, absent, solved]
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
environment:
  description: The folder of the environment; with generations, where its name leads.
  returned: state is present or beside
  type: str
carried:
  description: What a person had added and the new environment has, too.
  returned: state is beside
  type: list
  elements: str
left:
  description: What a person had added with pip and the new environment has by a package of the lock.
  returned: state is beside
  type: list
  elements: str
removed:
  description: The environments that went, or in check mode would go.
  returned: state is absent
  type: list
  elements: str
explicit:
  description: An C(@EXPLICIT) text with hashes, the lock of what was solved.
  returned: state is solved
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


ARGUMENTS: dict[str, dict[str, Any]] = {
    "conda_prefix": {"type": "path", "required": True},
    "environment": {"type": "path", "required": True},
    "specs": {"type": "list", "elements": "str", "default": []},
    "channels": {"type": "list", "elements": "str", "default": ["conda-forge"]},
    "lock": {"type": "str", "default": ""},
    "adopt": {"type": "bool", "default": False},
    "kernel_for": {"type": "path"},
    "kernels": {"type": "list", "elements": "str"},
    "kernel_name": {"type": "str"},
    "kernel_display_name": {"type": "str"},
    "variables_file": {"type": "path"},
    "shared": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 3600},
    "verify": {"type": "bool", "default": False},
    "linker": {"type": "str", "default": ""},
    "linker_sha256": {"type": "str", "default": ""},
    "network": {"type": "str", "choices": ["all", "index", "none"], "default": "all"},
    "packages": {"type": "str", "default": ""},
    "caches": {"type": "list", "elements": "path", "default": []},
    "keep": {"type": "str", "default": ""},
    "update": {"type": "list", "elements": "str", "default": []},
    "generations": {"type": "bool", "default": False},
    "leave": {"type": "list", "elements": "str", "default": []},
    "running_stays": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "beside", "absent", "solved"], "default": "present"},
}


# Of who may not write into the prefix: nothing is changed in it, but files that he has beside it.
NO_LOCK = -1


def act(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Do what the parameters ask for; what there is to do is looked for again once nobody else is at work."""
    do = ACTS[params["state"]]
    answer = do(params, lock=None)
    base = Path(params["conda_prefix"])
    if check_mode or not answer["changed"]:
        return answer
    with one_at_a_time(base, seconds=params["timeout"]) if os.access(base, os.W_OK) else nullcontext(NO_LOCK) as lock:
        return do(params, lock=lock)


def ensure_present(params: Mapping[str, Any], *, lock: int | None) -> dict[str, Any]:
    """Bring the environment, its variables file and its kernelspec to what was asked for; without a lock only look."""
    base, name = Path(params["conda_prefix"]), Path(params["environment"])
    environment = Environment(generations.place(name, base) if params["generations"] else name, base)
    if params["lock"] and environment.marker.get("refused") == word(params["lock"]):
        # Somebody went back from that lock; another one, or an upgrade, ends it.
        params = {**params, "lock": ""}
    plan = decide_by(environment, params)
    outcome, diffs = Outcome(), []
    if generations.current(name) != environment.path:
        after = f"{name} -> {environment.path}\n"
        diffs.append({"before_header": str(name), "after_header": str(name), "before": "", "after": after})
        if lock is not None:
            generations.point(name, environment.path)
    if plan.how:
        header = f"{environment.path} (packages)"
        diffs.append({"before_header": header, "after_header": header, "before": plan.before, "after": plan.after})
        if lock is not None:
            if not (base / "bin" / "conda").exists():
                raise Refusal(f"there is no conda in {base}; install it first")
            if lock == NO_LOCK:
                raise Refusal(f"{base} may not be written by this user; ask its owner, or set another miniconda_prefix")
            linker, digest = params["linker"], params["linker_sha256"]
            lacks = plan.how == "explicit" and not why_not(linker, digest, base) and is_missing(linker, digest, base)
            packages = [] if params["packages"] else to_send(environment, plan, params)
            if lacks or packages:
                first = {"linker_missing": lacks, "packages_missing": packages}
                return {"changed": True, "missing": plan.wanting, "diff": diffs, **first}
            outcome = carry_out(environment, plan, params, lock)
            if params["shared"]:
                keep_to_root(environment.path / "bin")
                keep_to_root(environment.meta)
    if environment.path != name and environment.marker and lock is not None:
        generations.belongs(name, environment.path, base)
    before, after = planned_variables(environment, params["variables_file"])
    if before != after:
        # Variables may hold secrets of the site: their names are enough for a diff.
        header = f"{params['variables_file']} (names only)"
        diffs.append(
            {"before_header": header, "after_header": header, "before": _names(before), "after": _names(after)}
        )
        if lock is not None:
            write(Path(params["variables_file"]), after, 0o644 if params["shared"] else 0o600)
    file, before, after = planned_kernel(environment, params)
    if file and before != after:
        diffs.append({"before_header": str(file), "after_header": str(file), "before": before, "after": after})
        if lock is not None:
            write(file, after, 0o644)
    for path in forsaken(environment, params["kernels"]):
        diffs.append({"before_header": str(path), "after_header": str(path), "before": f"{path}\n", "after": ""})
        if lock is not None:
            shutil.rmtree(path)
    packages = None
    if lock is None and (plan.wanting or plan.gone):
        # Of a lock it is known what will be there: after a repair the very same, which is no reason for a restart.
        foreseen = plan.how == "explicit" and environment.marker
        packages = revision(environment, plan.wanting, plan.gone) if foreseen else ""
    known = revision_with(environment, params["variables_file"], packages)
    answer = {"changed": bool(diffs), "missing": plan.wanting, "revision": known, "diff": diffs}
    return {
        **answer,
        **outcome._asdict(),
        "linker_missing": False,
        "packages_missing": [],
        "environment": str(environment.path),
    }


def ensure_beside(params: Mapping[str, Any], *, lock: int | None) -> dict[str, Any]:
    """Build what the lock asks for beside the present environment, with what a person added to that."""
    base, name = Path(params["conda_prefix"]), Path(params["environment"])
    generations.require_switchable(name, base, running_stays=params["running_stays"])
    now = Environment(generations.current(name), base)
    plan = decide_by(now, params)
    if not plan.how:
        return {"changed": False, "environment": str(now.path)}
    extras = Extras.of(now, params["lock"], params["leave"])
    diff = {"before_header": str(name), "after_header": str(name), "before": plan.before, "after": plan.after}
    answer = {"changed": True, "carried": extras.names, "left": [], "diff": [diff]}
    if lock is None:
        return {**answer, "environment": str(generations.fresh(name))}
    for one in generations.unused(name, base):
        generations.drop(one)
    path = generations.fresh(name)
    asked = {**params, "environment": str(path), "generations": False, "variables_file": None}
    built = ensure_present({**asked, "lock": extras.with_lock(params["lock"])}, lock=lock)
    if built["linker_missing"] or built["packages_missing"]:
        return built
    take_over(now.path.resolve(), path)
    left = settle(Environment(path, base), now, name, extras, params["variables_file"])
    return {**built, **answer, "left": left}


def forsaken(jupyter: Environment, kernels: Collection[str] | None) -> list[Path]:
    """Return the kernelspecs that we registered and that are not asked for any more, with their environments.

    An environment from which something runs, or to which a person has added something, stays.
    """
    gone = []
    for folder, target in kernels_of(jupyter.path).items() if kernels is not None else ():
        if folder.name not in {name.lower() for name in kernels or ()}:
            gone.append(folder)
            environment = Environment(target, jupyter.path) if target else None
            idle = environment and environment.marker.get("made") and not generations.in_use(environment.path)
            gone += [environment.path] if environment and idle and nothing_added(environment) else []
    return gone


def keep_to_root(folder: Path) -> None:
    """Let all users read the files of a folder, and nobody but the owner write them.

    The linker lets the group write commands, and its notes be read by nobody else.
    """
    for file in folder.iterdir():
        mode = file.lstat().st_mode
        if stat.S_ISREG(mode) and (wanted := (mode | 0o444) & ~0o022) != mode:
            file.chmod(stat.S_IMODE(wanted))


def ensure_solved(params: Mapping[str, Any], *, lock: int | None) -> dict[str, Any]:  # noqa: ARG001 - it only looks
    """Say which packages a new environment would get."""
    return {"changed": False, "explicit": solve(params)}


def _names(text: str) -> str:
    return "".join(f"{line.partition('=')[0]}\n" for line in text.splitlines())


def ensure_absent(params: Mapping[str, Any], *, lock: int | None) -> dict[str, Any]:
    """Remove what we made: kernelspecs, their environments, the environment itself."""
    base, name = Path(params["conda_prefix"]), Path(params["environment"])
    gone: list[Path] = []
    ours: list[Path] = []
    for jupyter in [Environment(generations.current(name), base), *generations.of(name, base)]:
        targets = kernels_of(jupyter.path)
        for folder, target in targets.items():
            gone += [folder, *(_removable(Environment(target, base), base) if target else [])]
        gone += _removable(jupyter, base)
        ours += [jupyter.path, *filter(None, targets.values())]
    if name.is_symlink():
        gone.append(name)
        ours.append(name)
    if params["variables_file"]:
        gone.append(Path(params["variables_file"]))
    gone = [path for path in dict.fromkeys([*gone, base / LOCK, base / HOUSE]) if os.path.lexists(path)]
    for path in gone if lock is not None else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    diff = {"before": "".join(f"{path}\n" for path in gone), "after": ""}
    removed = [str(path) for path in gone if path in ours]
    return {"changed": bool(gone), "removed": removed, "diff": [diff] if gone else []}


def _removable(environment: Environment, base: Path) -> list[Path]:
    beside = [environment.begun_file, environment.lock_file]
    if (environment.marker.get("made") or environment.half_made) and environment.path != base:
        return [environment.path, *beside]
    return [environment.marker_file, *beside]


ACTS: dict[str, Callable[..., dict[str, Any]]] = {
    "present": ensure_present,
    "beside": ensure_beside,
    "absent": ensure_absent,
    "solved": ensure_solved,
}


def main() -> None:
    """Read the arguments, act, and answer."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_by={"kernel_for": ["kernel_name"]},
        supports_check_mode=True,
    )
    if module.params["shared"]:
        os.umask(0o022)  # whatever the admin's is
    try:
        module.exit_json(**act(module.params, check_mode=module.check_mode))
    except Refusal as refusal:
        module.fail_json(msg=refusal.sentence)
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or module.params['environment']}: {error.strerror or error}; "
            "free some space, or give the folder back to its user."
        )


if __name__ == "__main__":
    main()
