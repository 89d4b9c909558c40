#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Let another generation of an environment count, go back to the one before, and take away those of long ago."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils import conda_generations as generations
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.conda_kernels import planned_variables, revision_with
from ansible.module_utils.conda_records import Environment, write
from ansible.module_utils.conda_run import one_at_a_time
from ansible.module_utils.conda_specs import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCUMENTATION = r"""
module: conda_generation
short_description: Choose which generation of a conda environment counts
description:
  - The name of an environment is a link to the generation that counts; to switch it takes no time and moves no file.
  - A folder that stands at the name itself, as an earlier release made it, is put aside, and put back to go back to it.
options:
  conda_prefix:
    description: Where conda lives.
    type: path
    required: true
  environment:
    description: The name of the environment, a path.
    type: path
    required: true
  generation:
    description: The folder that shall count, or with V(dropped) shall go; with V(back) the one that counted before.
    type: str
    default: ""
  refused:
    description: With V(back), a word for the lock that is not applied to it any more.
    type: str
    default: ""
  keep:
    description: With V(pruned), how many generations stay that counted before the present one.
    type: int
    default: 1
  variables_file:
    description: File for the variables that the environment's C(activate.d) scripts set, in systemd's form.
    type: path
  timeout:
    description: Seconds that the wait for another conda may take.
    type: int
    default: 3600
  state:
    description:
      - V(current) switches to O(generation), V(back) to the one that counted before.
      - V(dropped) removes O(generation) unless it counts, V(pruned) all that may go and from which nothing runs.
    type: str
    choices: [current, back, dropped, pruned]
    default: current
author: nbfleet
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Let the new environment count
  conda_generation:
    conda_prefix: /home/robert/miniconda3
    environment: /home/robert/miniconda3/envs/jupyter
    generation: /home/robert/miniconda3/envs/jupyter-2
"""

RETURN = r"""
environment:
  description: The folder that counts.
  returned: always
  type: str
revision:
  description: A word that changes with its packages and variables; empty while unknown.
  returned: always
  type: str
removed:
  description: The generations that went, or in check mode would go.
  returned: always
  type: list
  elements: str
"""


def act(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Switch or clear away."""
    base, name = Path(params["conda_prefix"]), Path(params["environment"])
    now, to, gone = generations.current(name), generations.current(name), []
    if params["state"] == "current":
        to = Path(params["generation"])
    elif params["state"] == "back":
        former = generations.former(name, base)
        if former is None:
            raise Refusal(f"no earlier environment is kept beside {name}; there is nothing to go back to")
        to = former.path
    elif params["state"] == "dropped":
        gone = [one for one in generations.unused(name, base) if str(one.path) == params["generation"]]
    else:
        gone = generations.spare(name, base, params["keep"])
    if not check_mode:
        if to != now:
            to = generations.switch(name, to, base, refused=params["refused"])
        for one in gone:
            generations.drop(one)
    environment = Environment(to, base)
    before, after = planned_variables(environment, params["variables_file"])
    if before != after and not check_mode:
        write(Path(params["variables_file"]), after, 0o600)
    removed = [str(one.path) for one in gone]
    before, after = (f"{name} -> {now}\n", f"{name} -> {to}\n") if to != now else ("", "")
    before += "".join(f"{path}\n" for path in removed)
    return {
        "changed": bool(to != now or gone),
        "environment": str(to),
        "revision": revision_with(environment, params["variables_file"]),
        "removed": removed,
        "diff": [{"before": before, "after": after}] if before else [],
    }


def main() -> None:
    """Read the arguments, act, and answer."""
    module = AnsibleModule(
        argument_spec={
            "conda_prefix": {"type": "path", "required": True},
            "environment": {"type": "path", "required": True},
            "generation": {"type": "str", "default": ""},
            "refused": {"type": "str", "default": ""},
            "keep": {"type": "int", "default": 1},
            "variables_file": {"type": "path"},
            "timeout": {"type": "int", "default": 3600},
            "state": {"type": "str", "choices": ["current", "back", "dropped", "pruned"], "default": "current"},
        },
        supports_check_mode=True,
    )
    try:
        with one_at_a_time(Path(module.params["conda_prefix"]), seconds=module.params["timeout"]):
            module.exit_json(**act(module.params, check_mode=module.check_mode))
    except Refusal as refusal:
        module.fail_json(msg=refusal.sentence)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror or error}; give the folder back to its user.")


if __name__ == "__main__":
    main()
