"""The throw-away machines of the demo, made by the checkout's own playbooks."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from nbfleet import content, process
from nbfleet.errors import FailedError, SetupError
from nbfleet.explain import last_line

VENDOR = ("https://repo.anaconda.com/miniconda/", "https://conda.anaconda.org/conda-forge/noarch/current_repodata.json")
VENDOR_SECONDS = 5.0


@dataclass(frozen=True)
class Lab:
    """The demo's lab.

    Attributes:
        root: The checkout.
        upstream: Whether the nodes get the vendor's real distribution.
    """

    root: Path
    upstream: bool = False

    @property
    def folder(self) -> Path:
        """Where the lab keeps its key, its inventory and its log."""
        return self.root / ".lab" / "demo"

    @property
    def inventory(self) -> Path:
        """The accounts, as a user would list them."""
        return self.folder / "hosts.yml"

    def prepare(self) -> None:
        """Install what the lab needs here.

        Raises:
            SetupError: Packages are missing, and only an administrator may install them.
        """
        done = process.run([str(self.root / "molecule" / "shared" / "prerequisites")], env=self._environment())
        if done.code != 0:
            raise SetupError(f"This computer lacks something for the demo: {last_line(done.err or done.out)}.")

    def create(self) -> None:
        """Make the machines, or what is missing of them."""
        self._playbook("create")

    def destroy(self) -> None:
        """Remove the machines and all they left on this computer."""
        self._playbook("destroy")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _playbook(self, name: str) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        book = self.root / "molecule" / "shared" / f"{name}.yml"
        done = process.run(["ansible-playbook", str(book)], env=self._environment(), cwd=self.root)
        log = self.folder / f"{name}.log"
        if self.folder.exists():
            log.write_text(done.out + done.err)
        if done.code != 0:
            why = complaint(done.out + done.err)
            raise FailedError(f"The demo's machines: {why}.", hint=f"All words are in {log}.")

    def _environment(self) -> dict[str, str]:
        programs = str(Path(sys.executable).parent)
        return {
            **os.environ,
            "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
            "NBFLEET_LAB": "demo",
            "NBFLEET_LAB_DIR": str(self.folder),
            "ANSIBLE_NOCOLOR": "1",
            **({"NBFLEET_LAB_UPSTREAM": "1"} if self.upstream else {}),
        }


def find() -> Lab:
    """Return the lab of the checkout that this driver runs from.

    Raises:
        SetupError: It runs from an installed wheel, which has no lab.
    """
    root = content.checkout()
    if not root or not (root / "molecule" / "shared" / "create.yml").exists():
        raise SetupError("The demo needs a checkout of nbfleet.", hint="Clone the repository, then: ./nbfleet demo")
    return Lab(root)


def vendor_answers(seconds: float = VENDOR_SECONDS) -> bool:
    """Tell whether all of the vendor's servers answer within the time; a slow name look-up counts too."""
    answers: list[bool] = []

    def ask(url: str) -> None:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - the URLs are constants of this file
        try:
            with urllib.request.urlopen(request, timeout=seconds) as reply:  # noqa: S310
                answers.append(reply.status == 200)
        except (OSError, ValueError):
            answers.append(False)

    for url in VENDOR:
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    deadline = time.monotonic() + seconds
    while len(answers) < len(VENDOR) and False not in answers and time.monotonic() < deadline:
        time.sleep(0.02)  # between two looks, up to the deadline
    return len(answers) == len(VENDOR) and all(answers)


def complaint(words: str) -> str:
    """Return the reason in ansible-playbook's output."""
    found = re.findall(r"^\s*(?:\[ERROR\]: |msg: |\"msg\": )(.+)$", words, re.MULTILINE)
    return found[-1].strip(' "').rstrip(".") if found else last_line(words)
