"""`nbfleet connect`: open an account's Jupyter, and keep the way open."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from nbfleet import background, bridge, browser, keepers, probe, service
from nbfleet.answer import Answer
from nbfleet.control import control_folder
from nbfleet.errors import ForwardError
from nbfleet.forward import LONGEST_PAUSE, Forward, close_port, free_port, require_free
from nbfleet.signals import until_told
from nbfleet.ssh import Connection
from nbfleet.store import Store

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from nbfleet.display import Display
    from nbfleet.endpoint import Endpoint


def run(args: argparse.Namespace, display: Display) -> Answer:
    """Open the forward, show or print the address, and stay or leave it to the background."""
    store = Store()
    endpoint = store.get(args.host)
    if there := store.open_session(endpoint.name):
        return reuse(endpoint, int(there["local_port"]), args, display)
    if args.port:
        require_free(args.port)
    connection = Connection(endpoint.ssh)
    with contextlib.ExitStack() as stack:
        forward = open_forward(endpoint, connection, store, wanted=args.port)
        stack.callback(forward.close)
        store.remember_port(endpoint.name, forward.local_port)
        page = show(endpoint, forward.local_port, forward.token, args, display)
        display.say(f"{endpoint.name}: Jupyter is kept by {keepers.title(endpoint.keeper, forward.by)}.")
        if forward.bridge == "session" and not endpoint.ssh.identity:
            display.say(f"{endpoint.name}: SSH forwards nothing to Jupyter there; a session carries the connections.")
        answer = describe(endpoint, forward, args)
        stack.pop_all()
    if args.background:
        forward.leave()
        background.start(store, endpoint.name, forward.local_port, page)
        display.say(f"{endpoint.name} stays open in the background; nbfleet disconnect {endpoint.name} closes it.")
        return answer
    return Answer(answer.data, answer.text, then=lambda: hold(store, forward, page, display))


def open_forward(endpoint: Endpoint, connection: Connection, store: Store, *, wanted: int | None) -> Forward:
    """Open the forward on the wanted port, else on the last one, else on a free one."""
    last = store.last_port(endpoint.name)
    if last and free_port(last) != last:
        # An earlier session that was killed leaves its forward in the master.
        close_port(connection, endpoint, last)
    forward = Forward(endpoint, wanted or free_port(last), connection=connection)
    try:
        forward.open()
    except ForwardError:
        if wanted or free_port(forward.local_port) == forward.local_port:
            raise
        forward = Forward(endpoint, free_port(None), connection=connection)  # somebody was quicker
        forward.open()
    return forward


def reuse(endpoint: Endpoint, local_port: int, args: argparse.Namespace, display: Display) -> Answer:
    """Use the forward that another process holds open."""
    if args.port and args.port != local_port:
        raise ForwardError(
            f"{endpoint.name} is open already, on the local port {local_port}.",
            hint=f"Run nbfleet disconnect {endpoint.name} first.",
        )
    connection = Connection(endpoint.ssh)
    connection.open()
    running = service.ensure_running(connection, endpoint)
    forward = Forward(endpoint, local_port, connection=connection)
    forward.token, forward.started, forward.by = running.token, running.started, running.by
    # The other process may be on its way back from a lost connection.
    probe.wait_until_ready(local_port, endpoint, running.token, seconds=2 * LONGEST_PAUSE)
    forward.bridge = "session" if bridge.alive(connection, endpoint, local_port) else "forward"
    display.say(f"{endpoint.name} is open already; Jupyter is kept by {keepers.title(endpoint.keeper, forward.by)}.")
    page = show(endpoint, local_port, running.token, args, display)
    if page:
        browser.remove_after_use(page)
    args.background = True  # as for the caller: it ends, the forward stays
    return describe(endpoint, forward, args)


def show(endpoint: Endpoint, local_port: int, token: str, args: argparse.Namespace, display: Display) -> Path | None:
    """Open the browser; return its private page, which somebody must remove."""
    if args.no_browser:
        return None
    if not browser.available():
        display.say("There is no browser here; with --no-browser the address is printed with its token.")
        return None
    page = browser.open_page(control_folder(), endpoint, local_port, token)
    if not page:
        display.say("No browser could be started; with --no-browser the address is printed with its token.")
    return page


def describe(endpoint: Endpoint, forward: Forward, args: argparse.Namespace) -> Answer:
    """Return the address; with the token only where it was asked for."""
    url = endpoint.url(forward.local_port, token=forward.token if args.no_browser else "")
    data: dict[str, Any] = {
        "name": endpoint.name,
        "url": url,
        "local_port": forward.local_port,
        "base_url": endpoint.base_url,
        "keeper": endpoint.keeper,
        "by": forward.by,
        "bridge": forward.bridge,
        "started": forward.started,
        "background": bool(args.background),
    }
    return Answer(data, url)


def hold(store: Store, forward: Forward, page: Path | None, display: Display) -> None:
    """Keep the forward until Ctrl-C, SIGTERM or `nbfleet disconnect`."""
    name = forward.endpoint.name
    with until_told() as stop, store.session(name, {"local_port": forward.local_port}) as mine:
        try:
            if not mine:
                return
            display.say(f"{name} is open; Ctrl-C closes it.")
            if page:
                threading.Thread(target=browser.remove_after_use, args=(page,), daemon=True).start()
            forward.keep(stop, display.say)
        finally:
            forward.close()
            if page:
                page.unlink(missing_ok=True)
    display.say(f"{name} is closed; Jupyter runs on there.")
