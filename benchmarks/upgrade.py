"""From one lock to another, on a provisioned account: `python benchmarks/upgrade.py INVENTORY --limit ACCOUNT`.

The second lock lacks a package that no other one needs, and the runs go to and fro between the two. conda's own way is
what a person would type: a new environment from the explicit list, all of it in the cache, without the trial, the
switch and the restart of an upgrade. The lab's conda links by the linker's own library: see docs/performance.md.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import measure

if TYPE_CHECKING:
    from nbfleet.endpoint import Reach

SPARE = "/jupyter_console-"
DEFAULT_SPECS = 5  # what an account gets without variables of its own
CONDA = "conda create --file, no trial"


class Bench:
    """One account, its two locks, and the ways from one to the other."""

    def __init__(self, inventory: Path, name: str, account: Reach, folder: Path) -> None:
        self._inventory, self._name, self._account = inventory, name, account
        self._words = ["-e", f"jupyter_locks={folder}"]
        shutil.copytree(inventory.parent / "locks", folder, dirs_exist_ok=True)
        measure.run(measure.site(inventory, name, *self._words))
        self._file = next(file for file in folder.glob("*.txt") if file.read_text().count("# spec: ") == DEFAULT_SPECS)
        self._whole = self._file.read_text()
        self._made = 0

    def _other_lock(self) -> None:
        left = "".join(line for line in self._whole.splitlines(keepends=True) if SPARE not in line)
        self._file.write_text(left if self._file.read_text() == self._whole else self._whole)

    def playbook(self, name: str, environment: dict[str, str]) -> float:
        """Return the seconds of a playbook that has another lock to follow."""
        self._other_lock()
        began = time.monotonic()
        words = measure.site(self._inventory, self._name, *self._words, playbook=f"playbooks/{name}.yml")
        if "changed=0" in measure.run(words, environment=environment):
            raise SystemExit(f"{name}.yml changed nothing.")
        return time.monotonic() - began

    def conda(self) -> float:
        """Return the seconds of conda's own way, over a connection of its own."""
        self._made += 1
        explicit = "".join(f"{line}\n" for line in self._whole.splitlines() if not line.startswith("#"))
        measure.ssh(self._account, f"mkdir -p bench; printf %s {shlex.quote(explicit)} >bench/lock.txt")
        began = time.monotonic()
        create = f"miniconda3/bin/conda create -q -y -p ~/bench/{self._made} --file bench/lock.txt >/dev/null"
        measure.ssh(self._account, create, seconds=600)
        return time.monotonic() - began


def main() -> None:
    """Measure the ways in turns, on the first account of the limit."""
    args = measure.parser(__doc__).parse_args()
    name, account = next(iter(measure.accounts(args.inventory, args.limit).items()))
    with measure.masters() as (_, live), tempfile.TemporaryDirectory(prefix="nbb-") as folder:
        bench = Bench(args.inventory, name, account, Path(folder))
        ways: dict[str, measure.Way] = {
            CONDA: bench.conda,
            "site.yml, in place": lambda: bench.playbook("site", live),
            "upgrade.yml, with trial and restart": lambda: bench.playbook("upgrade", live),
        }
        try:
            seconds = measure.in_turns(ways, args.rounds)
        finally:
            measure.ssh(account, "rm -rf bench")
    measure.report("another lock", seconds, unit=CONDA, as_json=args.json, account=name)


if __name__ == "__main__":
    main()
