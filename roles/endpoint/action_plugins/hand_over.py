# SPDX-License-Identifier: Apache-2.0
"""Write what an account is reached by into a file on the controller, without starting a module for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible has no type hints
    """Write `endpoint`, a dictionary, as JSON to `file`: 0600, whole or not at all.

    It runs in check mode, too: nothing changes on the account, and whoever asked for it wants to know the way there.
    """

    _requires_connection = False
    _VALID_ARGS = frozenset({"endpoint", "file"})

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the file.

        Raises:
            AnsibleActionFail: It cannot be written.
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        file = Path(self._task.args["file"])
        new = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
                json.dump(self._task.args["endpoint"], out)
            new.replace(file)
        except OSError as error:
            raise AnsibleActionFail(f"{file} cannot be written ({error.strerror}); give another folder.") from error
        return {**result, "changed": False}
