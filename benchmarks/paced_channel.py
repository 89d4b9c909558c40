"""Serves /srv/large, and what is not there from /srv/channel, at the pace of a link; runs on the channel's machine."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, AnyStr

from channel import Handler, Server  # the lab's own server, beside this file there

if TYPE_CHECKING:
    from _typeshed import SupportsRead, SupportsWrite

RATE = 100e6 / 8  # bytes a second, over all clients
LATENCY = 0.02  # seconds before each answer begins
PIECE = 1 << 16


class Link:
    """What all clients share: the moment at which the next piece may go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free = 0.0

    def wait(self, size: int) -> None:
        """Wait until the link has carried what came before, and take its time for so many bytes."""
        with self._lock:
            begins = max(self._free, time.monotonic())
            self._free = begins + size / RATE
        time.sleep(max(0.0, begins - time.monotonic()))  # the link is busy until then


LINK = Link()


class Paced(Handler):
    """Files of two folders, as fast as the link allows."""

    def translate_path(self, path: str) -> str:
        """Return the file that a URL means."""
        usual = Path(super().translate_path(path))
        large = Path("/srv/large", usual.relative_to("/srv/channel"))
        return str(large if large.is_file() else usual)

    def copyfile(self, source: SupportsRead[AnyStr], outputfile: SupportsWrite[AnyStr]) -> None:
        """Send a file in pieces."""
        time.sleep(LATENCY)  # what the distance costs is what is shown here
        while piece := source.read(PIECE):
            LINK.wait(len(piece))
            outputfile.write(piece)


if __name__ == "__main__":

    def answer(*words: object) -> Paced:
        """Return the handler of one connection."""
        return Paced(*words, directory="/srv/channel")  # type: ignore[arg-type] # what the server gives

    with Server(("0.0.0.0", int(sys.argv[1])), answer) as server:  # noqa: S104 -- the container's own network
        server.serve_forever()
