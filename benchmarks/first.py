"""From a bare account to a Jupyter that answers: `python benchmarks/first.py INVENTORY --limit PATTERN`.

Only for the lab, as it empties the homes of the accounts (`--limit 'u5-*'`: one on each machine). The hands are a
tutorial's commands, typed by a script into one ssh for each account, with the same installer and channel.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
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


def main() -> None:
    """Measure one account and, with several, all of them, by site.yml and by hand; every run from bare homes."""
    args = measure.parser(__doc__).parse_args()
    accounts = measure.accounts(args.inventory, args.limit)
    lab = json.loads((args.inventory.parent / "lab.json").read_text())
    machines: dict[str, dict[str, Any]] = {machine["address"]: machine for machine in lab["machines"]}
    channel = next(machine for machine in lab["machines"] if machine["role"] == "channel")
    place = f"http://{channel['address']}:{channel['port']}"
    hands = HANDS.format(channel=place, installer=lab["standin"]["installer"])
    empty = (measure.ROOT / "molecule" / "shared" / "files" / "bare.sh").read_text()

    def bare(names: list[str]) -> None:
        def one(account: Reach) -> None:
            command = ["podman", "exec", "-i", machines[account.host]["container"], "sh", "-s", str(account.user)]
            subprocess.run(command, check=True, input=empty, text=True, capture_output=True, timeout=300)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(one, (accounts[name] for name in names)))

    def playbook(names: list[str], *, then: str = "") -> float:
        bare([*names, *([then] if then else [])])
        if then:  # what is measured is the second account of a machine
            measure.run(measure.site(args.inventory, ",".join(names)))
        began = time.monotonic()
        measure.run(measure.site(args.inventory, then or ",".join(names)))
        return time.monotonic() - began

    def by_hand(names: list[str]) -> float:
        bare(names)
        began = time.monotonic()
        coded = base64.b64encode(hands.encode()).decode()
        for name in names:
            account = accounts[name]
            config = ["-F", account.config] if account.config else []
            measure.run(
                ["ssh", *config, *account.options, account.host, f"echo {coded} | base64 -d | bash"], seconds=900
            )
        return time.monotonic() - began

    names = list(accounts)
    first = names[:1]
    places = [accounts[name].host for name in names]
    second = next((name for name in names[1:] if accounts[name].host == places[0]), "")
    spread = [name for place, name in enumerate(names) if places[place] not in places[:place]]
    ways: dict[str, measure.Way] = {
        "by hand, one account": lambda: by_hand(first),
        "site.yml, one account": lambda: playbook(first),
    }
    if second:
        ways["site.yml, second account of the machine"] = lambda: playbook(first, then=second)
    if len(spread) > 1:
        ways[f"site.yml, {len(spread)} machines"] = lambda: playbook(spread)
        ways[f"by hand, {len(spread)} machines, one after the other"] = lambda: by_hand(spread)
    # An emptied home, a fresh installation: nothing to warm up.
    seconds = measure.in_turns(ways, args.rounds, warm=False)
    bare(names)
    measure.report("the first provision", seconds, unit="by hand, one account", as_json=args.json)


if __name__ == "__main__":
    main()
