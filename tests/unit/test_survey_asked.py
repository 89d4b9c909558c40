"""What is asked of an account, told from what its variables say and name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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


def asked(folder: Path, variables: dict[str, Any], **environment: str) -> str:
    """Return what the lookup says in a real play, with these variables in the inventory."""
    inventory = folder / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"a": {**LOCAL, **variables}}}}))
    task = {
        "ansible.builtin.copy": {
            "content": "{{ query('survey_asked', '^jupyter_') | to_json }}",
            "dest": str(folder / "out"),
        }
    }
    play = {"name": "Ask", "hosts": "all", "gather_facts": False, "tasks": [{"name": "Write", **task}]}
    book = folder / "book.yml"
    book.write_text(json.dumps([play]))
    settings = {
        "ANSIBLE_LOOKUP_PLUGINS": str(ROLES / "survey" / "lookup_plugins"),
        "ANSIBLE_LOCALHOST_WARNING": "False",
    }
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(book)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **settings, **environment}, timeout=120)
    return (folder / "out").read_text()


def test_it_names_what_matches_and_all_that_stands_behind_it(tmp_path: Path) -> None:
    names = [name for name, _ in json.loads(asked(tmp_path, BASE))]
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
def test_another_value_counts_where_something_asked_depends_on_it(
    tmp_path: Path, name: str, value: object, counts: bool
) -> None:
    assert (asked(tmp_path, BASE) != asked(tmp_path, {**BASE, name: value})) is counts


def test_what_things_are_made_from_is_judged_later(tmp_path: Path) -> None:
    apart = {**BASE, "survey_sources": {"note": "{{ jupyter_note }}"}}
    assert asked(tmp_path, apart, NOTE="x") == asked(tmp_path, apart, NOTE="y")


def test_what_comes_from_outside_counts_by_what_it_says(tmp_path: Path) -> None:
    assert asked(tmp_path, BASE, NOTE="x") != asked(tmp_path, BASE, NOTE="y")
