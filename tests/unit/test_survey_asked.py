"""What is asked of an account, told from what its variables say and name."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROLES = Path(__file__).resolve().parents[2] / "roles"
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
BASE = {
    "jupyter_packages": ["notebook", "{{ flavour }}"],
    "flavour": "{{ brand }}lab",
    "brand": "jupyter",
    "unrelated": "one",
    "jupyter_root": "{{ survey.home }}",
    "jupyter_note": "{{ lookup('ansible.builtin.env', 'NOTE') }}",
}


def asked(variables: dict[str, Any], **environment: str) -> str:
    """Return what the lookup says in a real play, with these variables in the inventory."""
    return _asked(json.dumps(variables), tuple(environment.items()))


@functools.cache
def _asked(variables: str, environment: tuple[tuple[str, str], ...]) -> str:
    task = {
        "ansible.builtin.copy": {
            "content": "{{ lookup('survey_asked', '^jupyter_') }}",
            "dest": "{{ inventory_dir }}/out",
        }
    }
    play = {"name": "Ask", "hosts": "all", "gather_facts": False, "tasks": [{"name": "Write", **task}]}
    settings = {
        "ANSIBLE_LOOKUP_PLUGINS": str(ROLES / "survey" / "lookup_plugins"),
        "ANSIBLE_LOCALHOST_WARNING": "False",
    }
    with tempfile.TemporaryDirectory() as name:
        inventory, book = Path(name, "hosts.json"), Path(name, "book.yml")
        inventory.write_text(json.dumps({"all": {"hosts": {"a": {**LOCAL, **json.loads(variables)}}}}))
        book.write_text(json.dumps([play]))
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(book)]
        told = {**os.environ, **settings, **dict(environment)}
        subprocess.run(command, check=True, capture_output=True, env=told, timeout=120)
        return Path(name, "out").read_text()


def test_it_names_what_matches_and_all_that_stands_behind_it() -> None:
    names = [name for name, _ in json.loads(asked(BASE))]
    assert names == ["brand", "flavour", "jupyter_note", "jupyter_packages", "jupyter_root"]


@pytest.mark.parametrize(
    ("name", "value", "counts"),
    [
        ("jupyter_packages", ["notebook"], True),
        ("brand", "zeppelin", True),  # two templates away
        ("jupyter_root", "/data", True),
        ("unrelated", "two", False),
        ("survey", {"home": "/home/robert"}, False),  # known only when the account has answered
    ],
)
def test_another_value_counts_where_something_asked_depends_on_it(name: str, value: object, counts: bool) -> None:
    assert (asked(BASE) != asked({**BASE, name: value})) is counts


def test_what_things_are_made_from_is_judged_later() -> None:
    apart = {**BASE, "survey_sources": {"note": "{{ jupyter_note }}"}}
    assert asked(apart, NOTE="x") == asked(apart, NOTE="y")


def test_what_comes_from_outside_counts_by_what_it_says() -> None:
    assert asked(BASE, NOTE="x") != asked(BASE, NOTE="y")
