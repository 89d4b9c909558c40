"""The lab, once for the whole session, and the commands that tests run against it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
LAB_DIRECTORY = ROOT / ".lab" / "test"


@dataclass(frozen=True)
class Run:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        answer: dict[str, Any] = json.loads(self.out)
        return answer


@dataclass(frozen=True)
class Lab:
    """The throw-away machines: a bastion and the nodes behind it."""

    directory: Path
    environment: dict[str, str]

    @property
    def inventory(self) -> Path:
        """The accounts, as a user's inventory lists them."""
        return self.directory / "hosts.yml"

    @property
    def ssh_config(self) -> Path:
        """The lab's key and pinned host keys."""
        return self.directory / "ssh_config"

    def run(self, *command: str, limit: float = 900, **environment: str) -> Run:
        """Run a command on the controller, in the lab's environment."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment | environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=limit,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def playbook(self, name: str, *words: str, **environment: str) -> Run:
        """Run one of the playbooks by plain ansible-playbook on the lab's accounts."""
        return self.run("ansible-playbook", "-i", str(self.inventory), f"playbooks/{name}.yml", *words, **environment)

    def nbfleet(self, *words: str, limit: float = 900) -> Run:
        """Run the driver."""
        return self.run(sys.executable, "-m", "nbfleet", *words, limit=limit)

    def on(self, account: str, script: str) -> Run:
        """Run a POSIX sh script on an account, the way the inventory says."""
        listed = self.run("ansible-inventory", "-i", str(self.inventory), "--host", account)
        words = ["-i", str(self.inventory), account, "-m", "ansible.builtin.raw", "-a", script]
        assert listed.code == 0, listed.err
        return self.run("ansible", *words)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab of the tests; NBFLEET_KEEP_LAB=1 leaves it running for the next session."""
    environment = os.environ | {
        "NBFLEET_LAB": "test",
        "NBFLEET_LAB_DIR": str(LAB_DIRECTORY),
        "NBFLEET_STATE_DIR": str(LAB_DIRECTORY / "state"),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(LAB_DIRECTORY / "molecule"),
        "ANSIBLE_FORCE_COLOR": "0",
        "NO_COLOR": "1",
    }
    lab = Lab(LAB_DIRECTORY, environment)
    created = lab.run("ansible-playbook", "molecule/shared/create.yml")
    assert created.code == 0, created.out + created.err
    yield lab
    if not os.environ.get("NBFLEET_KEEP_LAB"):
        lab.nbfleet("disconnect")
        destroyed = lab.run("ansible-playbook", "molecule/shared/destroy.yml")
        shutil.rmtree(LAB_DIRECTORY, ignore_errors=True)
        assert destroyed.code == 0, destroyed.out + destroyed.err


@pytest.fixture(scope="session")
def provisioned(lab: Lab) -> Lab:
    """The lab with both nodes' account `robert` provisioned by the driver."""
    done = lab.nbfleet("up", "-i", str(lab.inventory), "robert-node12", "robert-node13", "--json")
    assert done.code == 0, done.out + done.err
    return lab


@pytest.fixture(scope="package")
def connect(provisioned: Lab) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Open a forward in the background and return what the driver says of it; all are closed at the end."""

    def open_forward(account: str) -> dict[str, Any]:
        done = provisioned.nbfleet("connect", account, "--background", "--no-browser", "--json")
        assert done.code == 0, done.out + done.err
        opened: dict[str, Any] = done.answer["data"]
        return opened

    yield open_forward
    provisioned.nbfleet("disconnect")
