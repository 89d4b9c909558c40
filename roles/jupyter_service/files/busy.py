"""Wait until no kernel of the running Jupyter computes; say which do when the time is over.

Usage: busy.py GATE LISTENER BASE_URL TOKEN_FILE SECONDS

GATE is wait_ready.py on the account. A server that does not run has no busy kernel. Ends with 0 when all are idle.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from pathlib import Path

RESTING = ("idle", "dead", "unknown")


def busy(listener: str, base_url: str, token: str) -> list[str]:
    """Return the notebooks, or numbers, of the kernels that compute or are just starting for somebody.

    Jupyter calls one that nobody has ever spoken to `starting` for ever; there is nothing in it to lose.

    Raises:
        OSError: The server does not answer.
    """
    from wait_ready import Connection  # type: ignore[import-not-found] # beside the gate, on the account

    answers = []
    for path in ("api/kernels", "api/sessions"):
        connection = Connection(listener)
        try:
            connection.request("GET", base_url + path, headers={"Authorization": "token " + token})
            reply = connection.getresponse()
            if reply.status != 200:
                raise OSError(f"it answers {reply.status}")
            answers.append(json.load(reply))
        finally:
            connection.close()
    kernels, sessions = answers
    names = {session["kernel"]["id"]: session["path"] for session in sessions if session.get("kernel")}
    return [
        names.get(one["id"], one["id"])
        for one in kernels
        if one["execution_state"] not in RESTING and (one["execution_state"] != "starting" or one["connections"])
    ]


def main(gate: str, listener: str, base_url: str, token_file: str, seconds: str) -> str:
    """Ask until all are idle or the time is over; return what is wrong, or nothing."""
    sys.path.insert(0, str(Path(gate).parent))
    deadline = time.monotonic() + float(seconds)
    while True:
        try:
            found = busy(listener, base_url, Path(token_file).read_text())
        except (FileNotFoundError, ConnectionRefusedError):
            return ""  # nothing runs
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"whether a kernel is busy cannot be asked of Jupyter at {listener} ({error})"
        if not found:
            return ""
        if time.monotonic() >= deadline:
            return f"the kernel of {', '.join(sorted(found))} is busy"
        time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))  # between two questions to the server


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) or 0)
