"""What the roles of site.yml are given is looked over before any of them does something."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("role", "setting", "says"),
    [
        (
            "jupyter_service",
            "jupyter_service_interface=desk",
            "value of jupyter_service_interface must be one of: notebook, lab, got: desk",
        ),
        ("jupyter", "jupyter_keep_environments=some", "argument 'jupyter_keep_environments' is of type"),
    ],
)
def test_a_wrong_value_of_a_later_role_stops_before_the_first_one(
    tmp_path: Path, role: str, setting: str, says: str
) -> None:
    playbook = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "here,", "-c", "local"]
    run = subprocess.run(
        [*playbook, "playbooks/site.yml", "-e", setting],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "HOME": str(tmp_path), "ANSIBLE_LOCAL_TEMP": str(tmp_path / "ansible")},
    )
    assert run.returncode == 2
    assert says in run.stdout + run.stderr
    assert f"correct it where it is set; roles/{role}/README.md tells what it takes." in run.stdout + run.stderr
    assert "changed=0 " in run.stdout
    assert not (tmp_path / "miniconda3").exists()
