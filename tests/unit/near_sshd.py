"""A bastion and a node made of two real sshd processes of this user, and a notebook server's stand-in on a socket."""

from __future__ import annotations

import contextlib
import getpass
import http.server
import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nbfleet import control, process
from nbfleet.endpoint import Endpoint, Reach

if TYPE_CHECKING:
    from collections.abc import Iterator

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
TOKEN = "7" * 64
BASE_URL = "/robert-node12/"
LARGE = f"{BASE_URL}large"
BODY = bytes(range(256)) * 40_000  # 10 MB

SYSTEMCTL = """\
#!/bin/sh
case "$*" in
  *is-active*) cat "{folder}/state" ;;
  *restart*|*start*) echo "$@" >>"{folder}/orders"; [ -e "{folder}/broken" ] || echo active >"{folder}/state" ;;
  *LoadState*) echo loaded ;;
  *ActiveEnter*) echo "Mon 2030-01-07 10:00:00 UTC" ;;
  *MemoryCurrent*) echo 73400320 ;;
  *MainPID*) echo {pid} ;;
esac
"""


@dataclass
class Machine:
    """One sshd on a port of 127.0.0.1."""

    name: str
    folder: Path
    port: int

    def start(self) -> None:
        """Start it, and wait until it listens."""
        log = self.folder / f"{self.name}.log"
        subprocess.run([str(SSHD), "-f", str(self.folder / f"{self.name}.conf"), "-E", str(log)], check=True)
        deadline = time.monotonic() + 10
        while not listening(self.port):
            assert time.monotonic() < deadline, f"sshd {self.name}: {log.read_text()}"
            time.sleep(0.02)

    def stop(self) -> None:
        """End it with all its connections."""
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while listening(self.port):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def family(self) -> list[int]:
        """Return its process and those that serve its connections."""
        with contextlib.suppress(FileNotFoundError):
            pid = int((self.folder / f"{self.name}.pid").read_text())
            return [pid, *process.descendants(pid)]
        return []

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of them."""
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self, program: str) -> int:
        """End what runs of a program in its sessions; return how many there were."""
        found = 0
        for pid in self.family():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == program:
                    os.kill(pid, signal.SIGTERM)
                    found += 1
        return found

    @contextlib.contextmanager
    def told(self, *settings: str) -> Iterator[None]:
        """Run it with further settings for as long as the block lasts; of two values sshd takes the first."""
        path = self.folder / f"{self.name}.conf"
        usual = path.read_text()
        self.stop()
        path.write_text("\n".join([*settings, usual]))
        self.start()
        try:
            yield
        finally:
            control.close_since(0)
            self.stop()
            path.write_text(usual)
            self.start()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Let it neither answer nor hang up for as long as the block lasts, as behind a network that drops packets."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)


@dataclass
class Near:
    """The whole: two machines, the way to the second, and its notebook server."""

    folder: Path
    bastion: Machine
    node: Machine
    reach: Reach
    endpoint: Endpoint

    def unknown_keys(self) -> Reach:
        """Return the same way, with an empty list of known hosts."""
        config = self.folder / "ssh_config"
        empty = self.folder / "ssh_config.empty"
        empty.write_text(config.read_text().replace("known_hosts", "no_hosts"))
        return replace(self.reach, args=self.reach.args.replace(str(config), str(empty)))


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Notebook(http.server.BaseHTTPRequestHandler):
    """Answers as a notebook server does: its version to all, its user to the token."""

    def do_GET(self) -> None:
        """Answer a GET."""
        status = 404
        if self.path == f"{BASE_URL}api":
            status = 200
        elif self.path == f"{BASE_URL}api/me":
            status = 200 if self.headers["Authorization"] == f"token {TOKEN}" else 403
        body = json.dumps({"version": "2"}).encode()
        if self.path == LARGE:
            status, body = 200, BODY
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


class OnSocket(socketserver.ThreadingUnixStreamServer):
    """An HTTP server on a unix socket."""

    daemon_threads = True
    request_queue_size = 128  # as Jupyter has it

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Return a request with an address, which http.server wants."""
        return super().get_request()[0], ("local", 0)


@contextlib.contextmanager
def near(folder: Path) -> Iterator[Near]:
    """Run both machines for as long as the block lasts."""
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    key = folder / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    programs = folder / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text(SYSTEMCTL.format(folder=folder, pid=os.getpid()))
    (programs / "journalctl").write_text("#!/bin/sh\necho 'a line of the journal'\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    (folder / "state").write_text("active\n")
    (folder / "token").write_text(TOKEN)
    machines = [Machine(name, folder, free_port()) for name in ("bastion", "node")]
    known = []
    for machine in machines:
        host = folder / f"{machine.name}.host"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host)], check=True)
        known.append(f"[127.0.0.1]:{machine.port} {' '.join(host.with_suffix('.host.pub').read_text().split()[:2])}")
        (folder / f"{machine.name}.conf").write_text(
            f"Port {machine.port}\nListenAddress 127.0.0.1\nHostKey {host}\nAuthorizedKeysFile {key}.pub\n"
            f"PermitRootLogin yes\nStrictModes no\nUsePAM no\nPidFile {folder}/{machine.name}.pid\n"
            f"SetEnv PATH={programs}:/usr/bin:/bin\n"
        )
    (folder / "known_hosts").write_text("\n".join(known) + "\n")
    (folder / "ssh_config").write_text(
        f"Host *\n  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
        f"  StrictHostKeyChecking yes\n  IdentityFile {key}\n  IdentitiesOnly yes\n"
    )
    user = getpass.getuser()
    args = f"-F {folder}/ssh_config -o ProxyJump={user}@127.0.0.1:{machines[0].port}"
    reach = Reach("127.0.0.1", user, machines[1].port, None, args)
    endpoint = Endpoint(
        "robert-node12", reach, "/home/robert", "robert", "node12", 1001, "socket", str(folder / "j.sock"), None,
        BASE_URL, str(folder / "token"), "systemd-user", "nbfleet-jupyter.service", "/home/robert",
    )  # fmt: skip
    with OnSocket(str(endpoint.socket), Notebook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            for machine in machines:
                machine.start()
            yield Near(folder, machines[0], machines[1], reach, endpoint)
        finally:
            server.shutdown()
            for machine in machines:
                machine.stop()
