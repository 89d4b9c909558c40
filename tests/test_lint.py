"""The linters, as tests: what they find is a failure like any other."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONTROLLER = r"_plugins/|conda_controller"
SHELL_FILES = [
    "nbfleet",
    ".ci/run",
    "tests/run",
    "molecule/shared/prerequisites",
    "molecule/shared/image",
    "tests/unit/old_ssh.sh",
    "tests/e2e/second_factor.sh",
    "roles/survey/files/survey.sh",
    "roles/survey/files/doctor.sh",
    "roles/miniconda/files/miniconda.sh",
    "roles/jupyter_service/files/system_unit.sh",
    "molecule/shared/files/init.sh",
]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy", "python_driver/nbfleet", "tests"],
        ["mypy", "roles", "playbooks/action_plugins"],
        ["mypy", "benchmarks"],
        ["yamllint", "--strict", "."],
        ["ansible-lint", "--strict", "-q"],
        # The oldest Python that Ansible's modules can use; what is left out runs on the controller.
        ["vermin", "--target=3.9-", "--violations", "--no-tips", "--exclude-regex", CONTROLLER, "roles"],
        ["vermin", "--target=3.9-", "--violations", "--no-tips", "tests/standin/frontend"],
        ["shellcheck", *SHELL_FILES],
    ],
    ids=" ".join,
)
def test_the_linter_finds_nothing(command: list[str]) -> None:
    run = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
