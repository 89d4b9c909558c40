# SPDX-License-Identifier: Apache-2.0
"""Look over what several roles are given, in one task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

ROLES = Path(__file__).parent.parent / "roles"


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible has no type hints
    """Compare the variables of the roles that `of` names with their meta/argument_specs.yml.

    Ansible does so at the beginning of each role: a task and a process for each of them, after the roles before it have
    changed the account; and it reads their specifications at every run, also where no role has anything to do.
    """

    _VALID_ARGS = frozenset({"of"})
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a failure that names the first role whose variables are not what it takes, and all of them there."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        for role in self._task.args["of"]:
            if wrong := self._wrong(ROLES / role, task_vars or {}):
                advice = f"correct it where it is set; roles/{role}/README.md tells what it takes."
                return {**result, "failed": True, "msg": f"{'; '.join(wrong)}; {advice}"}
        return {**result, "changed": False}

    def _wrong(self, role: Path, variables: dict[str, Any]) -> list[str]:
        """Return what is wrong with the variables of a role, in Ansible's words."""
        specs = self._loader.load_from_file(str(role / "meta" / "argument_specs.yml"))
        options = specs["argument_specs"]["main"]["options"]
        given = self._templar.template({name: variables[name] for name in options if name in variables})
        errors = ArgumentSpecValidator(options).validate(given, validate_role_argument_spec=True).error_messages
        return [str(error) for error in errors]
