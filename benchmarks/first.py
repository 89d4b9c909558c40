"""From a bare account to a Jupyter that answers: `python benchmarks/first.py INVENTORY --limit PATTERN`.

Only for the lab, as it empties the homes of the accounts (`--limit 'u5-*'`: one on each machine). The hands are a
tutorial's commands, typed by a script into one ssh for each account, with the same installer and channel. A run that
must solve has no lock; a run from a lock has that of the warm-up. `--large` takes a channel whose index is as large as
conda-forge's, at 100 Mbit/s.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measure

if TYPE_CHECKING:
    from nbfleet.endpoint import Reach

HANDS = """\
set -e
cd
wget -q {channel}/miniconda/{installer}
bash {installer} -b -p miniconda3 >/dev/null
. miniconda3/bin/activate
conda config --set channel_alias {channel} >/dev/null
conda install -q -y --override-channels -c conda-forge jupyter notebook ipython >/dev/null
nohup jupyter notebook --no-browser --port 8888 >jupyter.log 2>&1 </dev/null &
tries=0
until grep -q 'is running at' jupyter.log && wget -q -O /dev/null http://localhost:8888/api; do
  tries=$((tries + 1)) && [ "$tries" -lt 1200 ]
  sleep 0.1
done
"""
BY_HAND = "by hand, one account"


class Bench:
    """Accounts that can be bare again, and the ways to provision them.

    Args:
        inventory: The lab's.
        limit: The accounts.
        locks: A folder for the locks of these runs.
        large: Whether to take the channel with the large index.
    """

    def __init__(self, inventory: Path, limit: str, locks: Path, *, large: bool) -> None:
        self.inventory, self.locks = inventory, locks
        self.accounts = measure.accounts(inventory, limit)
        lab = json.loads((inventory.parent / "lab.json").read_text())
        self.machines: dict[str, dict[str, Any]] = {machine["address"]: machine for machine in lab["machines"]}
        channel = next(machine for machine in lab["machines"] if machine["role"] == "channel")
        port = channel["port"]
        if large:
            from large_channel import serve

            with measure.setup("the large channel"):
                port = serve(channel["container"], Path(lab["standin"]["root"]))
        place = f"http://{channel['address']}:{port}"
        self.words = ["-e", f"conda_config_channel_alias={place}", "-e", f"miniconda_base_url={place}/miniconda"]
        self.hands = HANDS.format(channel=place, installer=lab["standin"]["installer"])

    def bare(self, names: list[str]) -> None:
        """Give accounts the home of a new one."""
        empty = (measure.ROOT / "molecule" / "shared" / "files" / "bare.sh").read_text()

        def one(account: Reach) -> None:
            command = ["podman", "exec", "-i", self.machines[account.host]["container"], "sh", "-s", str(account.user)]
            subprocess.run(command, check=True, input=empty, text=True, capture_output=True, timeout=300)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(one, (self.accounts[name] for name in names)))

    def playbook(self, names: list[str], *, solve: bool = False, first: str = "") -> float:
        """Return the seconds of site.yml on bare accounts.

        Args:
            names: The accounts.
            solve: Whether there is no lock.
            first: An account that is provisioned before, which does not count.
        """
        if solve:
            shutil.rmtree(self.locks, ignore_errors=True)
        self.bare([*names, *([first] if first else [])])
        words = [*self.words, "-e", f"jupyter_locks={self.locks}"]
        if first:
            measure.run(measure.site(self.inventory, first, *words))
        began = time.monotonic()
        measure.run(measure.site(self.inventory, ",".join(names), *words))
        return time.monotonic() - began

    def by_hand(self, names: list[str]) -> float:
        """Return the seconds of the tutorial's commands, on one account after the other."""
        self.bare(names)
        coded = base64.b64encode(self.hands.encode()).decode()
        began = time.monotonic()
        for name in names:
            measure.ssh(self.accounts[name], f"echo {coded} | base64 -d | bash", seconds=900)
        return time.monotonic() - began


def main() -> None:
    """Measure one account and, with several, all of them, by site.yml and by hand; every run from bare homes."""
    parser = measure.parser(__doc__, rounds=5)
    parser.add_argument("--large", action="store_true", help="one machine only, with a channel as large as conda-forge")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nbb-") as folder:
        bench = Bench(args.inventory, args.limit, Path(folder) / "locks", large=args.large)
        names = list(bench.accounts)
        places = [bench.accounts[name].host for name in names]
        second = next((name for place, name in list(zip(places, names, strict=True))[1:] if place == places[0]), "")
        spread = [name for place, name in enumerate(names) if places[place] not in places[:place]]
        ways: dict[str, measure.Way] = {
            BY_HAND: lambda: bench.by_hand(names[:1]),
            "site.yml, must solve": lambda: bench.playbook(names[:1], solve=True),
            "site.yml, from the lock": lambda: bench.playbook(names[:1]),
        }
        if second:
            ways["site.yml, second account of the machine"] = lambda: bench.playbook([second], first=names[0])
        many, hands = f"site.yml, {len(spread)} machines", f"by hand, {len(spread)} machines, one after the other"
        if len(spread) > 1 and not args.large:
            ways[many] = lambda: bench.playbook(spread, solve=True)
            ways[hands] = lambda: bench.by_hand(spread)
        # An emptied home, a fresh installation: nothing to warm up.
        seconds = measure.in_turns(ways, args.rounds, warm=False, once=[many, hands])
        bench.bare(names)
    title = "the first provision" + (", large channel" if args.large else "")
    measure.report(title, seconds, unit=BY_HAND, as_json=args.json)


if __name__ == "__main__":
    main()
