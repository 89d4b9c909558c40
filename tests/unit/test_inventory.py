"""The example of many accounts through one admin, as Ansible reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ACCOUNTS = ROOT / "inventory" / "accounts.example.yml"
HOSTS = ROOT / "inventory" / "hosts.example.yml"


def ask(*words: str) -> dict[str, Any]:
    """Ask a plain Ansible that has no configuration of ours."""
    program = Path(sys.executable).with_name("ansible-inventory")
    done = subprocess.run([program, *words, "--list"], cwd="/", check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def hosts(*words: str) -> set[str]:
    return set(ask(*words)["_meta"]["hostvars"])


@pytest.mark.parametrize(
    ("pattern", "accounts"),
    [
        ("max", {"max-node12", "max-node13"}),
        ("node13", {"max-node13", "mia-node13"}),
        ("mia:&node12", {"mia-node12"}),
        ("physics", {"max-node12", "max-node13", "mia-node12", "mia-node13"}),
        ("max-node12", {"max-node12"}),
    ],
)
def test_machine_user_and_group_name_their_accounts(pattern: str, accounts: set[str]) -> None:
    assert hosts("-i", str(ACCOUNTS), "--limit", pattern) == accounts


def test_each_account_is_its_own_user_on_its_machine_through_the_admin() -> None:
    told = ask("-i", str(ACCOUNTS))["_meta"]["hostvars"]["mia-node13"]
    names = ("ansible_host", "ansible_user", "ansible_become", "ansible_become_user")
    # What a template made is marked, so that nobody renders it again.
    values = [told[name]["__ansible_unsafe"] if isinstance(told[name], dict) else told[name] for name in names]
    assert values == ["node13.example.org", "ada", True, "mia"]


def test_thirty_users_on_ten_machines_are_a_dozen_lines(tmp_path: Path) -> None:
    data = yaml.safe_load(ACCOUNTS.read_text())
    lines = [line for line in ACCOUNTS.read_text().splitlines()[1:] if not line.lstrip().startswith("#")]
    assert len(lines) <= 16
    data["layers"] = {"user": [f"u{n}" for n in range(30)], "machine": [f"m{n}" for n in range(10)]}
    (tmp_path / "accounts.yml").write_text(yaml.safe_dump(data, sort_keys=False))
    assert len(hosts("-i", str(tmp_path / "accounts.yml"))) == 300
    assert len(hosts("-i", str(tmp_path / "accounts.yml"), "--limit", "u7:m3")) == 30 + 10 - 1


def test_own_logins_and_an_admin_s_accounts_share_a_run_and_a_folder(tmp_path: Path) -> None:
    both = {"robert-node12", "max-node12", "max-node13", "mia-node12", "mia-node13"}
    assert hosts("-i", str(HOSTS), "-i", str(ACCOUNTS)) == both
    for file in (HOSTS, ACCOUNTS):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    told = ask("-i", str(tmp_path))["_meta"]["hostvars"]
    assert set(told) == both
    assert "ansible_become" not in told["robert-node12"]
