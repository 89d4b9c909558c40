"""One account of the lab under a fault: what it had, what its user is told, and whether the next run puts it right."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.faults.notebook import Notebook
from tests.machines import Run

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.machines import Lab

# What a person has in a home; none of it is nbfleet's.
THINGS = """
mkdir -p work .config/other
echo mine >.config/other/settings
printf '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}\\n' >work/mine.ipynb
chown -R "$1:" work .config
"""
LINE = "echo \"alias mine='echo mine'\" >>.bashrc\n"
RECEIPT = ".local/state/nbfleet/receipt"  # noted anew by every full run
HOME = r"""
conda="-name .ansible -o -name .ssh -o -name .cache -o -name .conda -o -name miniconda3 -o -name .miniconda3.nbfleet"
find . -mindepth 1 \( $conda \) -prune -o -printf '%P\t%y %m %u %l \n'
find . \( $conda \) -prune -o -type f -exec sha256sum {} +
"""


@dataclass(frozen=True)
class Account:
    """An account of the lab, by its name in the inventory."""

    lab: Lab
    name: str

    @property
    def user(self) -> str:
        """Its user's name."""
        return self.name.partition("-")[0]

    @property
    def machine(self) -> str:
        """The machine that it is on."""
        return self.name.partition("-")[2]

    def root(self, script: str, *words: str) -> str:
        """Run a script as root on the account's machine, in the account's home; returns what it printed."""
        done = self.lab.root(self.machine, f"cd /home/{self.user}\n{script}", *words)
        assert done.code == 0, done.out + done.err
        return done.out.strip()

    def shell(self, script: str) -> str:
        """Run a script as the account's user, past SSH, where its services can be asked; returns what it printed."""
        done = self.lab.as_user(self.machine, self.user, script)
        assert done.code == 0, done.out + done.err
        return done.out.strip()

    def make_bare(self) -> None:
        """Give it a new home with a few things of its user's."""
        self.lab.bare(self.machine, self.user)
        self.root(LINE)
        self.live_in()

    def live_in(self) -> None:
        """Give it a few things of its user's."""
        self.root(THINGS, self.user)

    def home(self) -> dict[str, str]:
        """Return what is in the home: for each path its kind, mode, owner, link and content.

        Without the scratch folders, and without conda's, where nothing is the user's that a fault could reach.
        """
        found: dict[str, str] = {}
        for line in self.root(HOME).splitlines():
            path, tab, words = line.partition("\t")
            if tab:
                found[path] = words
            else:
                digest, _, path = line.partition("  ./")
                found[path] += digest
        found[".bashrc"] = self.root("cat .bashrc")  # a block may come to it, and no line may go
        return found

    def lost(self, before: dict[str, str]) -> list[str]:
        """Return what of an earlier home is not there any more, or not as it was."""
        now = self.home()
        gone = [path for path, state in before.items() if now.get(path) != state and path not in (".bashrc", RECEIPT)]
        return gone + sorted(set(before[".bashrc"].splitlines()) - set(now[".bashrc"].splitlines()))

    def nbfleet(self, verb: str, *words: str) -> Run:
        """Run a verb of the driver on the account."""
        inventory = ["-i", str(self.lab.inventory)] if verb in ("up", "remove") else []
        return self.lab.nbfleet(verb, *inventory, self.name, "--json", *words)

    def up(self, *words: str) -> Run:
        """Provision it by the driver."""
        return self.nbfleet("up", *words)

    def site(self, *words: str) -> Run:
        """Provision it by plain ansible-playbook."""
        return self.lab.playbook("site", "--limit", self.name, *words)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin to provision it by the driver, in a session of its own, and return the process."""
        return self.lab.start("up", "-i", str(self.lab.inventory), self.name, "--json", *words)

    def connect(self, *words: str) -> dict[str, Any]:
        """Open a forward in the background and return what the driver says of it."""
        done = self.nbfleet("connect", "--background", "--no-browser", *words)
        assert done.code == 0, done.out + done.err
        opened: dict[str, Any] = done.answer["data"]
        return opened

    def notebook(self) -> Notebook:
        """Open a forward and return the Jupyter at its near end."""
        return Notebook(str(self.connect()["url"]))

    def recovers(self) -> None:
        """See that the next plain run puts all right, the one after it changes nothing, and Jupyter answers."""
        mended = self.up()
        assert mended.code == 0, mended.out + mended.err
        again = self.up()
        assert again.code == 0, again.out + again.err
        assert [account["changed"] for account in again.answer["data"]["accounts"]] == [0], again.out
        assert self.notebook().answers(limit=20)


def told(run: Run, name: str, *parts: str, code: int) -> None:
    """See that the user was told one sentence that names the account, the next step, and nothing of our insides."""
    assert run.code == code, run.out + run.err
    assert "Traceback" not in run.out + run.err
    error = run.answer["error"]
    message = str(error["message"])
    assert name in message
    assert "\n" not in message
    assert message.endswith((".", ".)"))
    assert error["hint"]
    for part in parts:
        assert part in f"{message} {error['hint']}", message


def finished(process: subprocess.Popen[str], *, limit: float = 400) -> Run:
    """Wait for a run that was started, and return what it left behind."""
    out, err = process.communicate(timeout=limit)
    return Run(process.returncode, out, err)


@contextlib.contextmanager
def silence(lab: Lab) -> Iterator[None]:
    """Drop every packet between this computer and the bastion, without a word, for as long as the block lasts."""
    plan = json.loads((lab.directory / "lab.json").read_text())
    route = ["nsenter", "--target", lab.pid("bastion"), "--net", "ip", "route"]
    hole = ["blackhole", f"{plan['networks']['outer']['gateway']}/32"]
    assert lab.run(*route, "add", *hole).code == 0
    try:
        yield
    finally:
        assert lab.run(*route, "delete", *hole).code == 0
