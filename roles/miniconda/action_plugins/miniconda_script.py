# SPDX-License-Identifier: Apache-2.0
"""Run the script that installs conda, as the module raw would, and judge its last word."""

from __future__ import annotations

import base64
import re
from typing import Any

from ansible.plugins.action import ActionBase

WELL = {"changed", "unchanged"}
LAST_WORD = re.compile(r"^@nbfleet (\w+) (.*?)\s*$", re.MULTILINE)


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible has no type hints
    """Needs no Python on the account.

    `proxy` may hold a password: it goes to the script's standard input and never into an argument, which every user of
    a machine can read.
    """

    _VALID_ARGS = frozenset({"script", "proxy"})
    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the script's sentence, and whether it changed something."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        status, sentence = self._answer(str(self._task.args["script"]), str(self._task.args.get("proxy") or ""))
        return {**result, "msg": sentence, "changed": status == "changed", "failed": status not in WELL}

    def _answer(self, script: str, proxy: str) -> tuple[str, str]:
        code = base64.b64encode(script.encode()).decode()
        # Read alike by every login shell; leaves standard input to the script.
        command = f"""sh -c 'eval "$(echo {code} | base64 -d)"'"""
        # Without input there is a terminal, so that the script ends when the connection does.
        given = f"{proxy}\n".encode() if proxy else None
        said = self._low_level_execute_command(command, in_data=given, executable=False)
        words = LAST_WORD.findall(said["stdout"].replace("\r\n", "\n"))
        if words:
            return str(words[-1][0]), str(words[-1][1])
        heard = " ".join(f"{said['stdout']} {said['stderr']}".split())[:200]
        return "lost", (
            f"The account gave no answer ({heard}), the connection or the script was ended; run again, it continues "
            "where it stopped."
        )
