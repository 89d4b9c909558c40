"""Serves /srv/channel over http for many clients at once."""

from __future__ import annotations

import functools
import http.server
import sys


class Server(http.server.ThreadingHTTPServer):
    """A server that does not turn clients away when many nodes install at the same time."""

    request_queue_size = 256
    daemon_threads = True


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files with keep-alive; the log has refusals and errors only."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Leave out what went well."""
        if not str(code).startswith(("2", "3")):
            super().log_request(code, size)


if __name__ == "__main__":
    handler = functools.partial(Handler, directory="/srv/channel")
    with Server(("0.0.0.0", int(sys.argv[1])), handler) as server:  # noqa: S104 -- the container's own network
        server.serve_forever()
