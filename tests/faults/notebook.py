"""A Jupyter at an address, spoken to as its page does: HTTP, and a websocket for a kernel."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import time
import urllib.error
import urllib.request
import uuid
from typing import Any
from urllib.parse import urlsplit


class Notebook:
    """What a browser's tab would ask.

    Args:
        url: The address with its token, as `nbfleet connect --no-browser` prints it.
    """

    def __init__(self, url: str) -> None:
        page, _, self._token = url.partition("?token=")
        self.base = page.removesuffix("tree").removesuffix("lab")

    def ask(self, method: str, path: str, body: object = None, *, limit: float = 60) -> Any:
        """Return the JSON of one answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.base}{path}", data, method=method)  # noqa: S310
        request.add_header("Authorization", f"token {self._token}")
        with urllib.request.urlopen(request, timeout=limit) as answer:  # noqa: S310
            said = answer.read()
        return json.loads(said) if said else None

    def answers(self, *, limit: float = 5) -> bool:
        """Tell whether this very server answers to its token."""
        try:
            self.ask("GET", "api/status", limit=limit)
        except (OSError, ValueError):
            return False
        return True

    def start_kernel(self) -> str:
        """Start a kernel and return its id."""
        return str(self.ask("POST", "api/kernels", {"name": "python3"})["id"])

    def kernels(self) -> list[str]:
        """Return the ids of the kernels that run."""
        return [kernel["id"] for kernel in self.ask("GET", "api/kernels")]

    def end_kernels(self) -> None:
        """End them all."""
        for kernel in self.kernels():
            self.ask("DELETE", f"api/kernels/{kernel}")

    def send(self, kernel: str, code: str) -> None:
        """Give a kernel code, and do not wait for what comes of it."""
        with self._channel(kernel, 60) as websocket:
            websocket.send(json.dumps(_request(uuid.uuid4().hex, code)))

    def run(self, kernel: str, code: str, *, limit: float = 90) -> str:
        """Run code in a kernel and return what it printed.

        Raises:
            AssertionError: It did not come to an end in time.
        """
        message = uuid.uuid4().hex
        printed, ends = "", {"execute_reply", "idle"}
        deadline = time.monotonic() + limit
        with self._channel(kernel, limit) as websocket:
            websocket.send(json.dumps(_request(message, code)))
            while ends:
                assert time.monotonic() < deadline, f"the kernel did not answer within {limit} s"
                said = json.loads(websocket.receive())
                if said["parent_header"].get("msg_id") != message:
                    continue
                content, kind = said["content"], said["msg_type"]
                printed += content["text"] if kind == "stream" else ""
                printed += "\n".join(content["traceback"]) if kind == "error" else ""
                ends -= {kind, content.get("execution_state", "")}
        return printed.strip()

    def _channel(self, kernel: str, limit: float) -> _Websocket:
        return _Websocket(f"{self.base}api/kernels/{kernel}/channels", self._token, limit=limit)


def _request(message: str, code: str) -> dict[str, Any]:
    header = {"msg_id": message, "session": uuid.uuid4().hex, "username": "", "version": "5.3"}
    return {
        "header": {**header, "msg_type": "execute_request"},
        "parent_header": {},
        "metadata": {},
        "content": {"code": code, "silent": False, "store_history": False, "allow_stdin": False},
        "channel": "shell",
        "buffers": [],
    }


class _Websocket:
    """As much of RFC 6455 as a kernel needs."""

    def __init__(self, url: str, token: str, *, limit: float) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((str(parts.hostname), parts.port or 80), limit)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {parts.path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            f"Authorization: token {token}",
        ]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._file = self._socket.makefile("rb")
        status = self._file.readline()
        assert b" 101 " in status, status
        while self._file.readline().strip():
            pass

    def __enter__(self) -> _Websocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, text: str, *, kind: int = 1) -> None:
        data, mask = text.encode(), os.urandom(4)
        size = struct.pack(">BH", 0x80 | 126, len(data)) if len(data) > 125 else struct.pack(">B", 0x80 | len(data))
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
        self._socket.sendall(bytes([0x80 | kind]) + size + mask + masked)

    def receive(self) -> bytes:
        """Return one message, however many frames it has."""
        whole = b""
        while True:
            first, size = self._file.read(2)
            if size > 125:
                form = ">H" if size == 126 else ">Q"
                (size,) = struct.unpack(form, self._file.read(struct.calcsize(form)))
            data = self._file.read(size)
            kind = first & 0x0F
            assert kind != 8, f"the server closed the websocket: {data!r}"
            if kind == 9:
                self.send("", kind=10)
            elif kind < 3:
                whole += data
                if first & 0x80:
                    return whole
