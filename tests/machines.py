"""The lab's machines, and the commands that tests run against them."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent


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

    def run(self, *command: str, limit: float = 900) -> Run:
        """Run a command on the controller, in the lab's environment."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=limit,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def playbook(self, name: str, *words: str) -> Run:
        """Run one of the playbooks by plain ansible-playbook on the lab's accounts."""
        return self.run("ansible-playbook", "-i", str(self.inventory), f"playbooks/{name}.yml", *words)

    def nbfleet(self, *words: str, limit: float = 900) -> Run:
        """Run the driver."""
        return self.run(sys.executable, "-m", "nbfleet", *words, limit=limit)

    def spot(self, user: str, machine: str, *, jump: str | None = None) -> list[str]:
        """Return the words that name an account on the spot, without the inventory."""
        accounts = yaml.safe_load(self.inventory.read_text())["accounts"]
        names = ["miniconda_base_url", "miniconda_version", "miniconda_sha256", "conda_config_channel_alias"]
        words = [f"{user}@{accounts['children'][machine]['vars']['ansible_host']}"]
        words += ["-J", jump or accounts["vars"]["bastion"], "-F", str(self.ssh_config)]
        return words + [word for name in names for word in ("-e", f"{name}={accounts['vars'][name]}")]

    @contextlib.contextmanager
    def apart(self, **environment: str) -> Iterator[Lab]:
        """Be a user with no SSH connection and no endpoint yet, for as long as the block lasts."""
        runtime = tempfile.mkdtemp(prefix="nf", dir="/tmp")  # a short path, for the control sockets
        own = {"XDG_RUNTIME_DIR": runtime, "NBFLEET_STATE_DIR": f"{runtime}/state"}
        lab = Lab(self.directory, {**self.environment, **own, **environment})
        try:
            yield lab
        finally:
            lab.nbfleet("disconnect")
            for path in Path(runtime, "nbfleet-ssh").glob("*"):
                if path.is_socket():
                    self.run("ssh", "-F", "none", "-o", f"ControlPath={path}", "-O", "exit", "any")
            shutil.rmtree(runtime)

    def on(self, account: str, script: str) -> Run:
        """Run a POSIX sh script on an account, the way the inventory says."""
        return self.run("ansible", "-i", str(self.inventory), account, "-m", "ansible.builtin.raw", "-a", script)

    def container(self, machine: str) -> str:
        """Return podman's name of a machine."""
        machines = json.loads((self.directory / "lab.json").read_text())["machines"]
        return str(next(one["container"] for one in machines if one["name"] == machine))

    def root(self, machine: str, script: str, *words: str) -> Run:
        """Run a POSIX sh script as root inside a machine, past SSH; the words are its $1 and so on."""
        return self.run("podman", "exec", self.container(machine), "sh", "-c", script, "sh", *words)
