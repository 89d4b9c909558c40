"""Prove that a Jupyter works before it takes the place of the running one: HTTP, a kernel, and a computation.

Usage: trial.py GATE ENVIRONMENT INTERFACE CONFIG BASE_URL SECONDS

GATE is wait_ready.py on the account, with serve.py beside it. The server has a socket, a token and a runtime folder of
its own, in RUNTIME_DIRECTORY; whoever started this ends what is left of it.
"""

from __future__ import annotations

import atexit
import base64
import http.client
import json
import os
import re
import secrets
import select
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

TEXT, CLOSE, PING = 1, 8, 9


class Failed(Exception):  # noqa: N818 - it is an answer
    """Why it does not work, in a few words."""


class Trial:
    """A server that is being tried."""

    def __init__(self, folder: Path, base_url: str, seconds: float) -> None:
        self.folder, self.base_url = folder, base_url
        self.socket, self.token_file, self.log = folder / "jupyter.sock", folder / "token", folder / "log"
        self.token = secrets.token_hex(32)
        self.deadline = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return self.deadline - time.monotonic()

    def start(self, environment: str, interface: str, config: str, launcher: Path) -> subprocess.Popen[bytes]:
        """Start the server as the service would, but for its place."""
        with os.fdopen(os.open(self.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.token)
        options = {"sock": self.socket, "sock_mode": "0600", "port": 8888, "root_dir": self.folder}
        words = [f"--ServerApp.{name}={value}" for name, value in options.items()]
        # An account that an earlier release has provisioned does not have it yet.
        launched = [f"{environment}/bin/python", str(launcher)] if launcher.exists() else []
        words.append("--KernelRestarter.restart_limit=0")  # a kernel that dies is an answer
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [*launched, f"{environment}/bin/jupyter-{interface}", f"--config={config}", "--no-browser", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={
                    **os.environ,
                    "PATH": f"{environment}/bin:/usr/local/bin:/usr/bin:/bin",
                    "CONDA_PREFIX": environment,
                    "PYTHONNOUSERSITE": "1",
                    "JUPYTER_RUNTIME_DIR": str(self.folder),
                    "JUPYTER_TOKEN_FILE": str(self.token_file),
                },
            )

    def ask(self, method: str, path: str, body: str | None = None) -> Any:  # noqa: ANN401 - what JSON holds
        """Return the answer of the server's API.

        Raises:
            Failed: It is none.
        """
        from wait_ready import Connection  # type: ignore[import-not-found] # beside the gate, on the account

        connection = Connection(str(self.socket))
        connection.timeout = max(1.0, self.left)
        try:
            connection.request(method, self.base_url + path, body, {"Authorization": "token " + self.token})
            reply = connection.getresponse()
            text = reply.read()
        finally:
            connection.close()
        if reply.status >= 400:
            raise Failed(f"it answers {reply.status} to {method} {path}")
        return json.loads(text) if text else None

    def wait(self, server: subprocess.Popen[bytes]) -> None:
        """Wait until the server answers HTTP.

        Raises:
            Failed: It ends, or takes too long.
        """
        while True:
            if server.poll() is not None:
                raise Failed(f"it ends with status {server.returncode}")
            try:
                self.ask("GET", "api/status")
            except (OSError, http.client.HTTPException):
                if self.left < 0:
                    raise Failed("it does not answer in time") from None
                time.sleep(0.1)
            else:
                return

    def compute(self) -> None:
        """Have a kernel of the default kind compute.

        Raises:
            Failed: It does not, or takes too long.
        """
        kernel = self.ask("POST", "api/kernels", "{}")["id"]
        channel = self.channel(kernel)
        asked = uuid.uuid4().hex
        header = {"msg_id": asked, "session": asked, "username": "", "msg_type": "execute_request", "version": "5.3"}
        content = {"code": "6*7", "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        send(channel, TEXT, json.dumps(message).encode())
        for answer in self.messages(channel):
            if answer["msg_type"] == "status" and answer["content"]["execution_state"] == "dead":
                raise Failed("its kernel ends by itself")
            if answer["parent_header"].get("msg_id") != asked:
                continue
            if answer["msg_type"] == "error":
                raise Failed(f"its kernel says {answer['content'].get('ename')}")
            if answer["msg_type"] == "execute_result":
                if "42" not in str(answer["content"]["data"].get("text/plain")):
                    raise Failed(f"its kernel computes 6*7 = {answer['content']['data']}")
                break
        channel.close()
        self.ask("DELETE", f"api/kernels/{kernel}")

    def channel(self, kernel: str) -> socket.socket:
        """Open the web socket of a kernel, as a browser does.

        Raises:
            Failed: The server does not open it.
        """
        from wait_ready import Connection

        connection = Connection(str(self.socket))
        connection.timeout = max(1.0, self.left)
        connection.connect()
        channel: socket.socket = connection.sock
        lines = [
            f"GET {self.base_url}api/kernels/{kernel}/channels HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(secrets.token_bytes(16)).decode()}",
            f"Authorization: token {self.token}",
        ]
        channel.sendall("\r\n".join([*lines, "", ""]).encode())
        # The server opens it when the kernel has answered, and would wait a minute for one that is dead.
        while not select.select([channel], [], [], 0.5)[0]:
            if self.left < 0:
                raise Failed("its kernel does not answer in time")
            if kernel not in [one["id"] for one in self.ask("GET", "api/kernels")]:
                raise Failed("its kernel ends by itself")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += receive(channel, 1)
        status = head.decode(errors="replace").splitlines()[0]
        if " 101 " not in status:
            raise Failed(f"it opens no channel to its kernel ({status})")
        return channel

    def messages(self, channel: socket.socket) -> Iterator[dict[str, Any]]:
        """Yield the kernel's messages until the time is over.

        Raises:
            Failed: It is over, or the channel was closed.
        """
        whole = b""
        while self.left > 0:
            channel.settimeout(self.left)
            try:
                first, size = receive(channel, 2)
                if size >= 126:
                    size = int.from_bytes(receive(channel, 2 if size == 126 else 8), "big")
                data = receive(channel, size)
            except TimeoutError:
                break
            if first & 15 == CLOSE:
                raise Failed("its kernel's channel was closed")
            if first & 15 == PING:
                send(channel, 10, data)
            elif first & 15 in (0, TEXT):
                whole += data
                if first & 128:
                    yield json.loads(whole)
                    whole = b""
        raise Failed("its kernel does not answer in time")


def receive(channel: socket.socket, size: int) -> bytes:
    """Read exactly so many bytes.

    Raises:
        Failed: They do not come.
    """
    data = b""
    while len(data) < size:
        piece = channel.recv(size - len(data))
        if not piece:
            raise Failed("it hangs up")
        data += piece
    return data


def send(channel: socket.socket, kind: int, data: bytes) -> None:
    """Send one frame, masked as clients have to."""
    size = bytes([128 | len(data)]) if len(data) < 126 else bytes([128 | 126]) + len(data).to_bytes(2, "big")
    mask = secrets.token_bytes(4)
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
    channel.sendall(bytes([128 | kind]) + size + mask + masked)


def telling(log: Path) -> str:
    """Return the line of the server's own words that says best why it failed."""
    # What it says after it was ended is our own doing.
    text = re.split(r"(?m)^\[C .*received signal", log.read_text(errors="replace"))[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"(Error|Exception)\b.*:|^\[[EC] ", line)]
    return (errors or lines or [""])[-1][:300].rstrip(".")


def main(gate: str, environment: str, interface: str, config: str, base_url: str, seconds: str) -> str:
    """Try it; return what is wrong, or nothing."""
    sys.path.insert(0, str(Path(gate).parent))
    folder = Path(os.environ["RUNTIME_DIRECTORY"])
    if not folder.is_dir() or any(folder.iterdir()):  # no systemd has made it, and none will take it away
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    trial = Trial(folder, base_url, float(seconds))
    try:
        server = trial.start(environment, interface, config, Path(gate).with_name("serve.py"))
        try:
            trial.wait(server)
            trial.compute()
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
    except (Failed, OSError, http.client.HTTPException, ValueError, KeyError) as error:
        said = telling(trial.log) if trial.log.exists() else ""
        return f"{error}" + (f" ({said})" if said else "")
    return ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) or 0)
