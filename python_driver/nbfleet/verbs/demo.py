"""`nbfleet demo`: the whole way, on machines made for it on this computer."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nbfleet import background, browser, control, fleet, lab
from nbfleet.answer import Answer
from nbfleet.errors import NbfleetError
from nbfleet.options import Options
from nbfleet.ssh import Connection
from nbfleet.store import Store
from nbfleet.verbs import connect, up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbfleet.display import Display

ACCOUNT = "robert-node12"


def run(args: argparse.Namespace, display: Display) -> Answer:
    """Build the machines, provision through the bastion, open the forward."""
    place = lab.find()
    store = Store()
    stages = Stages(display)
    if args.down:
        return down(place, store, stages)
    with stages.stage("Check what this computer needs"):
        place.prepare()
    with stages.stage("Ask the vendor's servers"):
        place = replace(place, upstream=lab.vendor_answers())
    if place.upstream:
        display.say("The vendor's servers answer: this is the real Miniconda.")
    else:
        display.say(
            f"The vendor's servers cannot be reached within {lab.VENDOR_SECONDS:.0f} s: "
            "a stand-in distribution, built from PyPI, takes Miniconda's place."
        )
    with stages.stage("Build the machines: a bastion, and a node behind it"):
        place.create()
    with stages.stage(f"Provision {ACCOUNT} through the bastion"):
        provision(place, store, display)
    with stages.stage("Open the forward"):
        answer = open_forward(args, display)
    data = {**answer.data, "distribution": "vendor" if place.upstream else "stand-in", "stages": stages.done}
    if args.keep:
        display.say("nbfleet demo --down clears everything.")
        return Answer(data, answer.text)
    return Answer(data, answer.text, then=lambda: wait_for_enter(answer, display))


def provision(place: lab.Lab, store: Store, display: Display) -> None:
    """Run the site playbook on the demo's account.

    Raises:
        NbfleetError: It did not go well.
    """
    shared = control.ansible_environment(control.control_folder(), user_config=None)
    options = Options(limit=[ACCOUNT], environment=shared)
    done = fleet.run(place.inventory, "site", options, ways={}, watch=display)
    for endpoint in done.endpoints:
        store.save(endpoint)
    if error := up.verdict(done):
        raise error


def open_forward(args: argparse.Namespace, display: Display) -> Answer:
    """Connect as `nbfleet connect` does; where no browser is, the address must carry the token."""
    words = {
        "host": ACCOUNT,
        "port": None,
        "background": args.keep,
        "no_browser": args.no_browser or not browser.available(),
    }
    return connect.run(argparse.Namespace(**words), display)


def wait_for_enter(answer: Answer, display: Display) -> None:
    """Keep the forward until Enter, Ctrl-C or the end of standard input."""
    display.say("Press Enter to close the forward.")
    if answer.then:
        threading.Thread(target=end_on_enter, daemon=True).start()
        answer.then()
    else:
        sys.stdin.readline()
    display.say("The machines stay; nbfleet demo --down clears everything.")


def end_on_enter() -> None:
    """Wait for a line, then end this process's forward in the way of Ctrl-C."""
    import os
    import signal

    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGINT)


def down(place: lab.Lab, store: Store, stages: Stages) -> Answer:
    """Close the demo's forwards, forget its accounts, and remove its machines."""
    with stages.stage("Clear the demo"):
        for name in store.names():
            with contextlib.suppress(NbfleetError):
                endpoint = store.get(name)
                if str(place.folder) in endpoint.ssh.args:
                    background.stop(store, name)
                    Connection(endpoint.ssh, ask=False).close()
                    store.forget(name)
        place.destroy()
    return Answer({"stages": stages.done})


class Stages:
    """The stages of the demo, each with its time.

    Args:
        display: Who shows them.
    """

    def __init__(self, display: Display) -> None:
        self.display = display
        self.done: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show a stage, and note how long it took."""
        began = time.monotonic()
        with self.display.stage(name):
            yield
        self.done.append({"name": name, "seconds": round(time.monotonic() - began, 1)})
