# SPDX-License-Identifier: Apache-2.0
"""Ask an account by a script, and judge its answer here, in the process that asked."""

from __future__ import annotations

import base64
import shlex
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible has no type hints
    """Run `script` as the module raw would, without a Python there; then read what it says, and judge it.

    `answer` is what __survey_answer reads out of its output, `work` what __survey_judged makes of that, and `handover`
    what survey_handover says then: a task of its own would cost a process for every account.
    `proxy` is what the script reads from its standard input: a password in it is in no argument.
    `missing` tells whether it failed because the user to become does not exist.

    As a condition of the next task the verdict would be worked out in Ansible's main process, for one account after the
    other: 50 ms each.
    """

    _VALID_ARGS = frozenset({"script", "proxy"})
    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what raw returns, and the reasons why the account has work."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        script = base64.b64encode(str(self._task.args["script"]).encode()).decode()
        try:
            # Read alike by every login shell; the other one leaves standard input to the script.
            command, given = f"echo {script} | base64 -d | sh", None
            if proxy := str(self._task.args.get("proxy") or ""):
                command, given = f"""sh -c 'eval "$(echo {script} | base64 -d)"'""", f"{proxy}\n".encode()
            result |= self._low_level_execute_command(command, in_data=given, executable=False)
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as error:  # the word for a password that is missing or wrong
            return {**result, **self._refused(str(error), missing=False)}
        said = " ".join(f"{result['stdout']} {result['stderr']}".split())
        if result["rc"] != 0 and self._connection.become:
            return {**result, **self._refused(said, missing=self._user_is_missing())}
        if result["rc"] != 0:
            why = (
                f"the login shell ended with status {result['rc']} and ran nothing "
                f"(it said: {said[:200] or 'nothing'}); look at its start-up files there, and for a ForceCommand."
            )
            return {**result, "failed": True, "msg": why}
        variables = {**(task_vars or {}), "__survey_reply": result}
        # Read once; every template that names it would read it again.
        variables["survey"] = self._rendered("__survey_answer", variables)
        told = {"work": "__survey_judged", "handover": "survey_handover"}
        rendered = {key: self._rendered(name, variables) for key, name in told.items()}
        return {**result, "changed": False, "answer": variables["survey"], **rendered}

    def _rendered(self, name: str, variables: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever it says
        """Return what a variable says among others."""
        return self._templar.copy_with_new_env(available_variables=variables).template(variables[name])

    def _user_is_missing(self) -> bool:
        """Say whether the user to become is unknown there; asked as the one who logged in, whatever words sudo has."""
        user = shlex.quote(str(self.get_become_option("become_user")))
        answer = self._low_level_execute_command(f"id -u {user}", sudoable=False)
        return bool(answer["rc"] == 1)

    def _refused(self, said: str, *, missing: bool) -> dict[str, Any]:
        """Return the answer that the user could not be become, and why, in a sentence."""
        user, who = str(self.get_become_option("become_user")), self._get_remote_user() or "the login"
        if missing:
            why = f"there is no user {user} on this machine; correct ansible_become_user."
        elif "Incorrect" in said:
            why = (
                f"{self._connection.become.name} does not accept the password that it was given for {who}; correct it."
            )
        elif "password" in said:
            why = (
                f"{self._connection.become.name} asks {who} for a password before {who} may become {user}; "
                "give it with --ask-become-pass, or ask for a rule with NOPASSWD."
            )
        else:
            said = said[:200].rstrip(".") or "no reason given"
            why = f"{who} may not become {user} there ({said}); ask for a rule that allows it."
        return {"failed": True, "msg": why, "missing": missing, "user": user}
