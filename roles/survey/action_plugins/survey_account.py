# SPDX-License-Identifier: Apache-2.0
"""Ask an account by a script, and judge its answer here, in the process that asked."""

from __future__ import annotations

import base64
import gc
import re
import shlex
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import is_trusted_as_template

if TYPE_CHECKING:
    from collections.abc import Mapping

# Ansible imports this before it forks a process for each account. None of what it has by then is garbage, and to look
# for some there would make every such process copy it (as the documentation of gc.freeze says).
gc.freeze()

_NAMED = re.compile(r"\{\{ ([A-Za-z_]\w*(?:\.[a-z_]\w*)*) \}\}")
_MORE = re.compile(r"\{[{%#]|[%#}]\}|\n")
# Of the whole fleet, or the very variables once more.
_NOT_FILLED = {"groups", "hostvars", "vars"}


class Filler:
    """Fills in what only names another variable, such as `{{ survey.home }}/token`, without Jinja.

    Ansible compiles a template at each use, a millisecond in every account's process; two of three are of this kind.
    What asks for more stays a template, and what an account said never was one.
    """

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables = variables
        self._found: dict[str, Any] = {}

    def all(self) -> dict[str, Any]:
        """Return all variables, filled in as far as that goes."""
        return {name: value if name in _NOT_FILLED else self.named(name) for name, value in self._variables.items()}

    def named(self, name: str) -> Any:  # noqa: ANN401 - whatever it says
        """Return what a variable says; as it is written where it is a template that needs Jinja."""
        if name not in self._found:
            self._found[name] = self._variables[name]  # one that names itself ends here
            self._found[name] = self.filled(self._variables[name])
        return self._found[name]

    def filled(self, value: Any) -> Any:  # noqa: ANN401
        """Return a value with its simple templates filled in, in lists and dictionaries, too."""
        if isinstance(value, str):
            return self._text(value) if _is_template(value) else value
        if isinstance(value, dict):
            return {key: self.filled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.filled(inner) for inner in value]
        return value

    def _text(self, text: str) -> Any:  # noqa: ANN401
        parts = _NAMED.split(text)
        if any(_MORE.search(literal) for literal in parts[::2]):
            return text
        try:
            values = [self._value(path) for path in parts[1::2]]
        except LookupError:
            return text
        if parts[::2] == ["", ""]:
            return values[0]
        if not all(type(value) is int or (isinstance(value, str) and not _is_template(value)) for value in values):
            return text
        parts[1::2] = map(str, values)
        return "".join(parts)

    def _value(self, path: str) -> Any:  # noqa: ANN401
        name, *keys = path.split(".")
        value = self.named(name)
        for key in keys:
            if not isinstance(value, dict) or hasattr(value, key):  # to Jinja the attribute comes first
                raise LookupError(path)
            value = value[key]
        return value


def _is_template(text: str) -> bool:
    return "{" in text and is_trusted_as_template(text)


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible has no type hints
    """Run __survey_script as the module raw would, without a Python there; then read what it says, and judge it.

    `answer` is what __survey_answer reads out of its output, `work` what __survey_judged makes of that, and `handover`
    what survey_handover says then: a task of its own would cost a process for every account.
    __survey_proxy is what the script reads from its standard input: a password in it is in no argument.
    `missing` tells whether it failed because the user to become does not exist.

    As a condition of the next task the verdict would be worked out in Ansible's main process, for one account after the
    other: 50 ms each.
    """

    _VALID_ARGS: frozenset[str] = frozenset()
    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what raw returns, and the reasons why the account has work."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = {**(task_vars or {})}
        # By what is written in the variables, which filling in changes.
        given["__survey_asked"] = self._rendered("__survey_asked", given)
        variables = Filler(given).all()
        script = base64.b64encode(str(self._rendered("__survey_script", variables)).encode()).decode()
        try:
            # Read alike by every login shell; the other one leaves standard input to the script.
            command, stdin = f"echo {script} | base64 -d | sh", None
            if proxy := str(self._rendered("__survey_proxy", variables) or ""):
                command, stdin = f"""sh -c 'eval "$(echo {script} | base64 -d)"'""", f"{proxy}\n".encode()
            result |= self._low_level_execute_command(command, in_data=stdin, executable=False)
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
        given["__survey_reply"] = result
        # Read once; every template that names it would read it again.
        given["survey"] = self._rendered("__survey_answer", given)
        variables = Filler(given).all()
        work, handover = (self._rendered(name, variables) for name in ("__survey_judged", "survey_handover"))
        return {**result, "changed": False, "answer": given["survey"], "work": work, "handover": handover}

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
