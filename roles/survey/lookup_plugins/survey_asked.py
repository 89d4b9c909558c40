# SPDX-License-Identifier: Apache-2.0
"""What a set of variables says, rendering no more of it than must be.

With a hundred templates for every account at every run, rendering is what a run without work would be busy with.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ansible.plugins.lookup import LookupBase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DOCUMENTATION = r"""
name: survey_asked
short_description: What the variables of a pattern depend on
description:
  - Returns the variables whose names match, and those that their templates name, all as they are written, in JSON.
  - A value that asks the world outside (a lookup, other hosts, the clock) is rendered instead.
options:
  _terms:
    description: One pattern of variable names.
    required: true
author: nbfleet
"""

_TEMPLATE = re.compile(r"\{[{%]")
_WORD = re.compile(r"[A-Za-z_]\w*")
_OUTSIDE = re.compile(r"\b(lookup|query|q|hostvars|groups|vars|now|random|ansible_date_time|undef)\b")
# Known only when the account has answered; or about the run and not about the account.
_NOT_ASKED = {"survey", "ansible_facts", "hostvars", "groups", "vars"}


def texts(value: object) -> Iterator[str]:
    """Yield the templates inside a value."""
    if isinstance(value, str):
        if _TEMPLATE.search(value):
            yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from texts(key)
            yield from texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts(inner)


def closure(pattern: str, variables: Mapping[str, Any]) -> list[str]:
    """Return the names that match, and all that their values name, in order."""
    # What things there are made from is judged when the account has answered.
    sources = {word for text in texts(variables.get("survey_sources")) for word in _WORD.findall(text)}
    waiting = [name for name in variables if re.search(pattern, name) and name not in sources]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        words = {word for text in texts(variables[name]) for word in _WORD.findall(text)}
        waiting += [word for word in words if word in variables and word not in _NOT_ASKED]
    return sorted(found)


class LookupModule(LookupBase):  # type: ignore[misc] # Ansible has no type hints
    """The lookup."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **_: object) -> list[str]:
        """Return [name, value] for each variable that counts, as one text: a list costs Ansible time for every item."""
        known = variables or {}
        asked = []
        for name in closure(terms[0], known):
            value = known[name]
            outside = any(_OUTSIDE.search(text) for text in texts(value))
            asked.append([name, repr(self._templar.template(value) if outside else value)])
        return [json.dumps(asked)]
