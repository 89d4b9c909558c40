"""The background process that `connect --background` leaves behind: `python -m nbfleet.hold ACCOUNT PORT [PAGE]`."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from nbfleet import browser
from nbfleet.display import Display
from nbfleet.errors import Exit, NbfleetError
from nbfleet.forward import Forward
from nbfleet.signals import until_told
from nbfleet.ssh import Connection
from nbfleet.store import Store


def hold(name: str, local_port: int, page: Path | None, display: Display) -> None:
    """Take the forward over from `connect`, and keep it until told to end."""
    store = Store()
    endpoint = store.get(name)
    forward = Forward(endpoint, local_port, connection=Connection(endpoint.ssh, ask=False))
    if page:
        threading.Thread(target=browser.remove_after_use, args=(page,), daemon=True).start()
    with until_told() as stop, store.session(name, {"local_port": local_port}) as mine:
        if not mine:
            return
        try:
            forward.open()
            forward.keep(stop, display.say)
        finally:
            forward.close()
            if page:
                page.unlink(missing_ok=True)


def main(name: str, local_port: str, page: str = "") -> int:
    """Hold the forward; what happens goes to standard error, which is the log."""
    display = Display()
    try:
        hold(name, int(local_port), Path(page) if page else None, display)
    except NbfleetError as error:
        display.error(f"{error} {error.hint}")
        return error.exit
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
