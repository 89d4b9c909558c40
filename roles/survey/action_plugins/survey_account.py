# SPDX-License-Identifier: Apache-2.0
"""Ask an account by a script, and judge its answer here, in the process that asked."""

from __future__ import annotations

import base64
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible has no type hints
    """Run `script` as the module raw would, without a Python there; `work` is what __survey_judged makes of the answer.

    As a condition of the next task the verdict would be worked out in Ansible's main process, for one account after the
    other: 50 ms each.
    """

    _VALID_ARGS = frozenset({"script"})
    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what raw returns, and the reasons why the account has work."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        script = base64.b64encode(str(self._task.args["script"]).encode()).decode()
        # Read alike by every login shell.
        result |= self._low_level_execute_command(f"echo {script} | base64 -d | sh", executable=False)
        if result["rc"] != 0:
            return {**result, "failed": True, "msg": "non-zero return code"}
        variables = {**(task_vars or {}), "__survey_reply": result}
        templar = self._templar.copy_with_new_env(available_variables=variables)
        return {**result, "changed": False, "work": templar.template(variables["__survey_judged"])}
