"""Serves /srv/channel as the channel's own server does, but for the fault that stands in a file; runs on that machine.

Usage: faulty_channel.py PORT FAULT_FILE, the file holding `FAULT PATTERN`: what happens to paths that match. What
stalls makes FAULT_FILE.stalled, and goes on as soon as the fault is another one.
"""

from __future__ import annotations

import http.server
import re
import sys
import time
from pathlib import Path

ROOT = Path("/srv/channel")
PAGE = b"<!DOCTYPE html><html><body>Please log in to the guests' network.</body></html>"


class Handler(http.server.BaseHTTPRequestHandler):
    """Whole files, and faults."""

    def do_GET(self) -> None:
        """Answer a GET."""
        file = ROOT / self.path.lstrip("/")
        data = file.read_bytes() if file.is_file() else b""
        fault, _, pattern = Path(sys.argv[2]).read_text().strip().partition(" ")
        if not pattern or not re.search(pattern, self.path):
            self.answer(200 if data else 404, data)
        elif fault.isdigit():
            self.answer(int(fault), b"")
        elif fault == "page":
            self.answer(200, PAGE)
        elif fault == "altered":
            self.answer(200, data[:-9] + b"altered\0\n")
        elif fault == "short":
            self.answer(200, data[: len(data) // 2])
        elif fault == "half":  # breaks off in the middle
            self.answer(200, data[: len(data) // 2], size=len(data))
        else:
            self.answer(200, data[: len(data) // 2], size=len(data))
            Path(f"{sys.argv[2]}.stalled").touch()
            while Path(sys.argv[2]).read_text().startswith(fault):
                time.sleep(0.1)
            self.wfile.write(data[len(data) // 2 :])

    def answer(self, status: int, data: bytes, *, size: int | None = None) -> None:
        """Send an answer, which may be shorter than it says."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if size is None else size))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is given
        """Stay silent."""


if __name__ == "__main__":
    with http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler) as server:  # noqa: S104
        server.serve_forever()
