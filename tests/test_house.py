"""The walls of the house: what may stand where, said as code."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
DRIVER = ROOT / "python_driver" / "nbfleet"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else None


def tracked(*patterns: str) -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).is_file()]


def options(role: Path, entry: str = "main") -> dict[str, Any]:
    specs = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    return specs.get(entry, {}).get("options") or {}


def tasks(path: Path) -> list[dict[str, Any]]:
    """Every task of a file, those in blocks too."""
    found: list[dict[str, Any]] = []
    pending = list(load(path) or [])
    while pending:
        task = pending.pop(0)
        found.append(task)
        for part in ("block", "rescue", "always"):
            pending += task.get(part, [])
    return found


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
class TestRole:
    def test_has_what_every_role_has(self, role: Path) -> None:
        wanted = [
            "README.md",
            "defaults/main.yml",
            "meta/main.yml",
            "meta/argument_specs.yml",
            # It only says something, and costs no task.
            "vars/main.yml" if role.name == "endpoint" else "tasks/main.yml",
        ]
        assert [name for name in wanted if not (role / name).exists()] == []

    def test_its_defaults_are_its_spec(self, role: Path) -> None:
        assert sorted(load(role / "defaults" / "main.yml") or {}) == sorted(options(role))

    def test_its_spec_names_the_very_defaults(self, role: Path) -> None:
        defaults = load(role / "defaults" / "main.yml") or {}
        stated = {name: option["default"] for name, option in options(role).items() if "default" in option}
        assert stated == {name: defaults[name] for name in stated}

    def test_its_spec_has_no_default_that_must_be_rendered(self, role: Path) -> None:
        # Ansible renders the whole spec before it looks at the values, also where a default is not used.
        assert [name for name, option in options(role).items() if "{{" in str(option.get("default"))] == []

    def test_its_readme_names_every_variable(self, role: Path) -> None:
        readme = (role / "README.md").read_text()
        assert [name for name in options(role) if f"`{name}`" not in readme] == []

    def test_its_variables_start_with_its_name(self, role: Path) -> None:
        public = list(load(role / "defaults" / "main.yml") or {})
        internal = list(load(role / "vars" / "main.yml") or {})
        # What a role tells the others, in vars/ because nobody may set it.
        answers = {
            "endpoint": ["endpoint_handover"],
            "survey": ["survey", "survey_others"],
            "miniconda": [f"miniconda_{name}" for name in ("address", "needs", "notes", "owner", "spared")],
            "conda_config": ["conda_config_files", "conda_config_indexes"],
            "shell_profile": ["shell_profile_files"],
            "jupyter": [f"jupyter_{name}" for name in ("beside", "current", "locked", "removed", "revision", "spared")],
            "jupyter_service": [
                "jupyter_service_busy",
                "jupyter_service_files",
                "jupyter_service_handle",
                "jupyter_service_keepers",
                "jupyter_service_kept",
                "jupyter_service_links",
                "jupyter_service_network_file",
                "jupyter_service_owner_file",
                "jupyter_service_paths",
                "jupyter_service_refusals",
            ],
        }.get(role.name, [])
        assert [name for name in public if not name.startswith(f"{role.name}_")] == []
        assert [name for name in internal if not name.startswith(f"__{role.name}_") and name not in answers] == []

    def test_it_names_no_other_role_and_no_group(self, role: Path) -> None:
        others = [other.name for other in ROLES if other != role]
        # A longer role name may begin with a shorter one: jupyter_service_x is not a variable of jupyter.
        foreign = re.compile(
            rf"\b_{{0,2}}(?!{role.name}_)(?:{'|'.join(others)})_[a-z]|\b(?:groups|hostvars|playbook_dir)\b"
        )
        inventory = re.compile(r"\binventory_hostname\b")
        found = []
        for path in sorted(role.rglob("*")):
            if path.suffix not in {".yml", ".j2"} or path.name == "README.md":
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                code = line.partition(" #")[0] if not line.lstrip().startswith("#") else ""
                if "name:" in code or "description" in code:
                    continue
                if foreign.search(code) or (role.name != "endpoint" and inventory.search(code)):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
        assert found == []

    def test_no_task_file_outgrows_a_screen_or_two(self, role: Path) -> None:
        sizes = {path.name: len(tasks(path)) for path in (role / "tasks").glob("*.yml")}
        assert {name: size for name, size in sizes.items() if size > 15} == {}

    def test_its_tasks_swallow_nothing(self, role: Path) -> None:
        banned = {"ignore_errors", "ignore_unreachable", "ansible.builtin.shell", "ansible.builtin.pause"}
        for path in [*(role / "tasks").glob("*.yml"), *(role / "handlers").glob("*.yml")]:
            for task in tasks(path):
                assert not banned & task.keys(), f"{path.relative_to(ROOT)}: {task.get('name')}"

    def test_its_commands_say_when_they_changed_something(self, role: Path) -> None:
        commands = {"ansible.builtin.command", "ansible.builtin.raw"}
        for path in [*(role / "tasks").glob("*.yml"), *(role / "handlers").glob("*.yml")]:
            for task in tasks(path):
                if commands & task.keys():
                    creates = "creates" in (task.get("ansible.builtin.command") or {})
                    assert creates or "changed_when" in task, f"{path.relative_to(ROOT)}: {task['name']}"


def test_playbooks_hold_roles_and_no_privilege() -> None:
    for path in (ROOT / "playbooks").glob("*.yml"):
        for play in load(path):
            assert "become" not in play, path.name
            assert "vars" not in play, path.name


def test_group_vars_only_wire_known_variables_to_answers() -> None:
    known = {name for role in ROLES for name in options(role)}
    known |= {"ansible_python_interpreter", "ansible_pipelining", "ansible_ssh_use_tty"}
    for name, value in load(ROOT / "group_vars" / "all.yml").items():
        assert name in known, name
        for part in value if isinstance(value, list) else [value]:
            assert str(part).startswith("{{"), f"{name} is a literal; literals belong in a role's defaults"


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_ansible_runner_is_imported_in_one_file() -> None:
    assert [path.name for path in DRIVER.rglob("*.py") if "ansible_runner" in imports(path)] == ["converge.py"]


def test_the_driver_never_switches_host_key_checking_off() -> None:
    for path in tracked("python_driver", "roles", "playbooks", "molecule", ".config", "ansible.cfg"):
        text = path.read_text(errors="replace")
        assert not re.search(
            r"StrictHostKeyChecking[ =]*(no|off)\b|host_key_checking *[=:] *false", text, re.IGNORECASE
        ), path


def test_no_python_file_outgrows_three_screens() -> None:
    sizes = {path.name: len(path.read_text().splitlines()) for path in DRIVER.rglob("*.py")}
    assert {name: size for name, size in sizes.items() if size > 220} == {}


def test_everything_tracked_is_free_of_one_machine_s_paths() -> None:
    places = re.compile("/(?:wo" + "rk|fa" + "rm)/|" + r"\.\./sha" + "red/(?:facts|DESIGN)|/tmp/ba" + "sh_jobs")
    for path in tracked():
        assert not places.search(path.read_text(errors="replace")), path
