#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Let Jupyter start kernels of languages that the machine itself has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.conda_kernels import kernel_file
from ansible.module_utils.conda_records import write
from ansible.module_utils.conda_specs import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCUMENTATION = r"""
module: machine_kernels
short_description: Let Jupyter start kernels of languages that the machine itself has
description:
  - Looks for each program, has it say that it can run a kernel, and writes the kernelspec into Jupyter's environment.
  - Installs nothing, and refuses before it writes anything.
options:
  environment:
    description: The environment Jupyter runs from.
    type: path
    required: true
  kernels:
    description: Each with C(name) and C(argv), and perhaps C(display_name), C(language), C(check) and C(missing).
    type: list
    elements: dict
    required: true
  timeout:
    description: Seconds that one check may take.
    type: int
    default: 120
author: nbfleet
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Let Jupyter use the machine's R
  machine_kernels:
    environment: /home/robert/miniconda3/envs/jupyter
    kernels:
      - name: r-machine
        argv: [R, --no-echo, -e, "IRkernel::main()", --args, "{connection_file}"]
"""

RETURN = r"""
programs:
  description: The program of each kernel, by its name.
  returned: success
  type: dict
"""

# Where people have programs that a service's PATH does not know.
PLACES = ("~/.local/bin", "~/bin", "~/.juliaup/bin", "~/.local/share/coursier/bin")
SYSTEM = "/usr/local/bin:/usr/bin:/bin"


def search_path() -> str:
    """Return the folders that are searched for programs, as PATH has them."""
    return ":".join([*(str(Path(place).expanduser()) for place in PLACES), os.environ.get("PATH", ""), SYSTEM])


def program_of(kernel: Mapping[str, Any], *, seconds: float) -> str:
    """Return the program of a kernel, which has said that it can run one.

    Raises:
        Refusal: It is not there, or it says no.
    """
    argv, name = [str(word) for word in kernel["argv"]], kernel["name"]
    advice = f"; {kernel['missing']}" if kernel.get("missing") else "; install it, or take the kernel out"
    path = search_path()
    program = shutil.which(argv[0], path=path)
    if not program:
        raise Refusal(f"there is no {argv[0]} on {os.uname().nodename} for the kernel {name}{advice}")
    check = [str(word) for word in kernel.get("check") or []]
    if not check:
        return program
    first = shutil.which(check[0], path=path) or check[0]
    try:
        said = subprocess.run(
            [first, *check[1:]],
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds,
        )
        words = (said.stderr or said.stdout).strip().splitlines()
        why = "" if said.returncode == 0 else (words[0] if words else f"status {said.returncode}")
    except OSError as error:
        why = str(error.strerror)
    except subprocess.TimeoutExpired:
        why = f"no answer within {seconds:.0f} s"
    if why:
        raise Refusal(
            f"{program} of {os.uname().nodename} cannot run the kernel {name} ({why.rstrip('.:')[:200]}){advice}"
        )
    return program


def spec(kernel: Mapping[str, Any], program: str) -> str:
    """Return the kernel.json of a kernel."""
    text = {
        "argv": [program, *(str(word) for word in kernel["argv"][1:])],
        "display_name": kernel.get("display_name") or kernel["name"],
        "language": kernel.get("language") or kernel["name"],
        "metadata": {"nbfleet": {"program": program}},
    }
    return json.dumps(text, indent=1, ensure_ascii=False) + "\n"


def ensure(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Find all programs, then write what differs."""
    programs = {kernel["name"]: program_of(kernel, seconds=params["timeout"]) for kernel in params["kernels"]}
    diffs = []
    for kernel in params["kernels"]:
        file, before = kernel_file(Path(params["environment"]), kernel["name"])
        after = spec(kernel, programs[kernel["name"]])
        if before != after:
            diffs.append({"before_header": str(file), "after_header": str(file), "before": before, "after": after})
            if not check_mode:
                write(file, after, 0o644)
    return {"changed": bool(diffs), "programs": programs, "diff": diffs}


def main() -> None:
    """Read the arguments, act, and answer."""
    module = AnsibleModule(
        argument_spec={
            "environment": {"type": "path", "required": True},
            "kernels": {"type": "list", "elements": "dict", "required": True},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**ensure(module.params, check_mode=module.check_mode))
    except Refusal as refusal:
        module.fail_json(msg=refusal.sentence)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror or error}; free some space, or give the folder back.")


if __name__ == "__main__":
    main()
