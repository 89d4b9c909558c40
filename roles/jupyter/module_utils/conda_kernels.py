# SPDX-License-Identifier: Apache-2.0
"""What an environment's activation sets, and the kernelspecs that another Jupyter starts it by."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .conda_specs import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .conda_records import Environment


def activation_variables(environment: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the environment's activate.d scripts set beyond PATH and CONDA_PREFIX.

    Variables of several lines are left out: systemd's files and kernelspecs have no safe form for all of them.
    """
    scripts = sorted((environment / "etc" / "conda" / "activate.d").glob("*.sh"))
    before = {key: environ[key] for key in ("HOME", "USER", "LOGNAME", "LANG") if key in environ}
    before.update(CONDA_PREFIX=str(environment), PATH=f"{environment}/bin:/usr/local/bin:/usr/bin:/bin")
    found = {}
    state = environment / "conda-meta" / "state"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = {str(k): str(v) for k, v in json.loads(state.read_text(encoding="utf-8"))["env_vars"].items()}
    if scripts:
        shell = next((path for path in ("/bin/bash", "/usr/bin/bash") if Path(path).exists()), "/bin/sh")
        sourced = 'for script in "$@"; do . "$script"; done >/dev/null 2>&1 </dev/null; exec env -0'
        answer = subprocess.run(
            [shell, "-c", sourced, shell, *map(str, scripts)],
            env={**before, **found},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
        ).stdout.decode(errors="replace")
        after = dict(pair.partition("=")[::2] for pair in answer.split("\0") if "=" in pair)
        found = {key: value for key, value in after.items() if before.get(key) != value}
    private = {"_", "SHLVL", "PWD", "OLDPWD"}
    return {k: v for k, v in sorted(found.items()) if k not in private and "\n" not in v and re.fullmatch(r"\w+", k)}


def systemd_variables(variables: Mapping[str, str]) -> str:
    """Return variables in the form of systemd's EnvironmentFile."""
    quoted = {key: re.sub(r'(["\\`$])', r"\\\1", value) for key, value in variables.items()}
    return "".join(f'{key}="{value}"\n' for key, value in quoted.items())


def planned_variables(environment: Environment, file: str | None) -> tuple[str, str]:
    """Return what the variables file holds and what it should hold (the same when it is none of our business)."""
    before = ""
    if file:
        with contextlib.suppress(OSError):
            before = Path(file).read_text(encoding="utf-8")
    if not file or not environment.exists or not environment.marker:
        return before, before
    return before, systemd_variables(activation_variables(environment.path, os.environ))


def revision_with(environment: Environment, file: str | None, packages: str | None = None) -> str:
    """Return a word that changes with the packages and the variables; empty while it is unknown.

    Args:
        environment: The environment.
        file: The variables file, if there is one.
        packages: Revision of the packages that are to come, empty while unknown; None: of those that are there.
    """
    known = str(environment.marker.get("revision", "")) if packages is None else packages
    if known and file:
        _, variables = planned_variables(environment, file)
        known = hashlib.sha256((known + variables).encode()).hexdigest()[:12] if variables else known
    return known


def kernelspec(environment: Path, display_name: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the kernel.json by which another environment's Jupyter starts this environment's kernel.

    Raises:
        Refusal: There is no kernel in the environment.
    """
    specs = sorted((environment / "share" / "jupyter" / "kernels").glob("*/kernel.json"))
    # Kernels of other languages bring ipykernel's along.
    specs.sort(key=lambda spec: spec.parent.name == "python3")
    if not specs:
        raise Refusal(f"{environment} holds no kernel; add ipykernel (or the kernel of its language) to its packages")
    found = json.loads(specs[0].read_text(encoding="utf-8"))
    argv = [str(word) for word in found["argv"]]
    program = environment / "bin" / Path(argv[0]).name
    if not argv[0].startswith("/") or program.exists():
        argv[0] = str(program)
    env = {**variables, **found.get("env", {})}
    env.update(CONDA_PREFIX=str(environment), PATH=f"{environment}/bin:${{PATH}}", PYTHONNOUSERSITE="1")
    metadata = {**found.get("metadata", {}), "nbfleet": {"environment": str(environment)}}
    return {**found, "argv": argv, "display_name": display_name, "env": env, "metadata": metadata}


def kernel_file(jupyter: Path, name: str) -> tuple[Path, str]:
    """Return the kernel.json of that name in Jupyter's environment, and what it holds.

    Raises:
        Refusal: The name is none, or another hand registered a kernel of that name.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise Refusal(f"the kernel name '{name}' is none; use letters, digits, dots, dashes and underscores")
    file = jupyter / "share" / "jupyter" / "kernels" / name.lower() / "kernel.json"
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if before and '"nbfleet"' not in before:
        raise Refusal(f"{file} was not made by nbfleet; give the kernel another name")
    return file, before


def planned_kernel(environment: Environment, params: Mapping[str, Any]) -> tuple[Path | None, str, str]:
    """Return the kernel.json's place, what it holds and what it should hold.

    Raises:
        Refusal: See `kernel_file`; or there is no kernel in the environment.
    """
    if not params["kernel_for"]:
        return None, "", ""
    name = params["kernel_name"] or ""
    file, before = kernel_file(Path(params["kernel_for"]), name)
    if not environment.exists:
        return file, before, before or "{}\n"
    variables = activation_variables(environment.path, os.environ)
    variables.pop("PATH", None)
    wanted = kernelspec(environment.path, params["kernel_display_name"] or name, variables)
    return file, before, json.dumps(wanted, indent=1, ensure_ascii=False) + "\n"


def kernels_of(jupyter: Path) -> dict[Path, Path | None]:
    """Return the folder of each kernelspec that we registered, with the environment it starts; None for a program."""
    found = {}
    for file in sorted((jupyter / "share" / "jupyter" / "kernels").glob("*/kernel.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            environment = json.loads(file.read_text(encoding="utf-8"))["metadata"]["nbfleet"].get("environment")
            found[file.parent] = Path(environment) if environment else None
    return found
