"""Which ssh is installed here, and since when ssh knows what this driver asks of it."""

from __future__ import annotations

import functools
import re

from nbfleet import process

STDIO_FORWARD = (5, 4)  # -W
PERSIST = (5, 6)  # ControlPersist
SOCKET_FORWARD = (6, 7)  # -L to a unix socket; by then also -O forward, -O cancel and %C
JUMP = (7, 3)  # -J, ProxyJump and Include: from here on nothing needs to be translated


@functools.cache
def version() -> tuple[int, int]:
    """Return the version of the ssh that is installed here."""
    found = re.search(r"OpenSSH_(?:for_Windows_)?(\d+)\.(\d+)", process.run(["ssh", "-V"], timeout=20).err)
    return (int(found[1]), int(found[2])) if found else (99, 0)
