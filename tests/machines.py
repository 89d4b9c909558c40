"""The lab's machines, and the commands that tests run against them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    accounts: Path | None = None

    @property
    def inventory(self) -> Path:
        """The accounts, as a user's inventory lists them."""
        return self.accounts or self.directory / "hosts.yml"

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

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start the driver in a session of its own, with some variables more, and return the process."""
        return subprocess.Popen(
            [sys.executable, "-m", "nbfleet", *words],
            cwd=ROOT,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

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
        own["ANSIBLE_SSH_CONTROL_PATH_DIR"] = f"{runtime}/ansible-ssh"  # where plain Ansible shares connections
        lab = Lab(self.directory, {**self.environment, **own, **environment})
        try:
            yield lab
        finally:
            lab.nbfleet("disconnect")
            for path in Path(runtime).glob("*-ssh/*"):
                if path.is_socket():
                    self.run("ssh", "-F", "none", "-o", f"ControlPath={path}", "-O", "exit", "any")
            shutil.rmtree(runtime)

    def on(self, account: str, script: str) -> Run:
        """Run a POSIX sh script on an account, the way the inventory says."""
        return self.run("ansible", "-i", str(self.inventory), account, "-m", "ansible.builtin.raw", "-a", script)

    def said(self, account: str, script: str) -> str:
        """Run a POSIX sh script on an account and return what it printed."""
        done = self.on(account, script)
        assert done.code == 0, done.out + done.err
        lines = done.out.partition(">>\n")[2].replace("\r", "").splitlines()
        return "\n".join(line for line in lines if not line.startswith("Shared connection to ")).strip()

    def machine(self, name: str) -> dict[str, Any]:
        """Return what the lab's plan says of a machine."""
        machines = json.loads((self.directory / "lab.json").read_text())["machines"]
        return next(dict(one) for one in machines if one["name"] == name)

    def address(self, machine: str) -> str:
        """Return a machine's address on the network behind the bastion."""
        return str(self.machine(machine)["address"])

    def container(self, machine: str) -> str:
        """Return podman's name of a machine."""
        return str(self.machine(machine)["container"])

    def pid(self, machine: str) -> str:
        """Return the number that a machine's first process has on this computer."""
        return self.run("podman", "inspect", "--format", "{{.State.Pid}}", self.container(machine)).out.strip()

    def root(self, machine: str, script: str, *words: str) -> Run:
        """Run a POSIX sh script as root inside a machine, past SSH; the words are its $1 and so on."""
        return self.run("podman", "exec", self.container(machine), "sh", "-c", script, "sh", *words)

    def as_user(self, machine: str, user: str, script: str) -> Run:
        """Run a POSIX sh script as a user of a machine, past SSH, where the user's services can be asked."""
        enter = 'cd "$(getent passwd "$1" | cut -d: -f6)" || exit'
        start = 'runuser -u "$1" -- env HOME="$PWD" XDG_RUNTIME_DIR="/run/user/$(id -u "$1")" sh -c "$2"'
        return self.root(machine, f"{enter}\n{start}", user, script)

    def bare(self, machine: str, user: str) -> None:
        """Give an account the home of a new one."""
        self.prepared(machine, "bare.sh", user)

    def prepared(self, machine: str, script: str, user: str) -> str:
        """Run one of the lab's own scripts for a user, as root, and return what it printed."""
        done = self.root(machine, (ROOT / "molecule" / "shared" / "files" / script).read_text(), user)
        assert done.code == 0, done.out + done.err
        return done.out


def wait_for(what: str, true: Callable[[], object], *, seconds: float = 120) -> None:
    """Wait until something is true.

    Raises:
        AssertionError: It was not, in time.
    """
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)


@contextlib.contextmanager
def only_way(lab: Lab, machine: str, other: str) -> Iterator[Callable[[], int]]:
    """Drop every packet that a machine sends to or gets from others than one, for as long as the block lasts.

    Yields:
        What tells how many it has tried to send until then.
    """
    rules = [
        f"{chain} ! {side} {lab.address(other)} ! {interface} lo -j DROP"
        for chain, side, interface in (("OUTPUT", "-d", "-o"), ("INPUT", "-s", "-i"))
    ]
    # A packet without a route would come to no rule, and not be counted.
    everywhere = f"default via {lab.address(other)}"

    def inside(*commands: str) -> str:
        done = lab.run("nsenter", "-t", process, "-n", "sh", "-e", "-c", "\n".join(commands))
        assert done.code == 0, done.err
        return done.out

    def tried() -> int:
        (dropped,) = (line.split() for line in inside("iptables -nvxL OUTPUT").splitlines() if "DROP" in line)
        return int(dropped[0])

    process = lab.pid(machine)
    inside(f"ip route add {everywhere}", *(f"iptables -A {rule}" for rule in rules))
    try:
        yield tried
    finally:
        inside(f"ip route del {everywhere}", *(f"iptables -D {rule}" for rule in rules))


def taken(turn: TextIO) -> bool:
    """Take the turn at removing a lab, if nobody has it: podman answers nobody else while it deletes."""
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def made_lab(name: str) -> Iterator[Lab]:
    """Make a lab of a name in molecule/shared/vars/lab.yml; it is removed at the end, but for NBFLEET_KEEP_LAB=1."""
    directory = ROOT / ".lab" / name
    environment = os.environ | {
        "NBFLEET_LAB": name,
        "NBFLEET_LAB_DIR": str(directory),
        "NBFLEET_STATE_DIR": str(directory / "state"),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(directory / "molecule"),
        "ANSIBLE_FORCE_COLOR": "0",
        "NO_COLOR": "1",
    }
    lab = Lab(directory, environment)
    created = lab.run("ansible-playbook", "molecule/shared/create.yml")
    assert created.code == 0, created.out + created.err
    yield lab
    if not os.environ.get("NBFLEET_KEEP_LAB"):
        lab.nbfleet("disconnect")
        with (directory.parent / "removal").open("w") as turn:
            wait_for("another lab to be removed", lambda: taken(turn), seconds=600)
            destroyed = lab.run("ansible-playbook", "molecule/shared/destroy.yml")
        shutil.rmtree(directory, ignore_errors=True)
        assert destroyed.code == 0, destroyed.out + destroyed.err
