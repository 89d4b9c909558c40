"""What a further account of a machine costs where all share one prefix: `python benchmarks/shared_prefix.py INVENTORY`.

Only for the lab `test`, whose admin may become two users of one machine: it empties their homes and removes the prefix
that they share. Each round provisions the first of them, with the prefix, and then the second.
"""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import measure

SHARED = ["-e", "miniconda_scope=machine"]
EMPTY = measure.ROOT / "molecule" / "shared" / "files" / "bare.sh"


def on(machine: dict[str, Any], script: str, *words: str) -> None:
    """Run a script as root on a machine of the lab."""
    command = ["podman", "exec", "-i", machine["container"], "sh", "-s", *words]
    subprocess.run(command, check=True, input=script, text=True, capture_output=True, timeout=300)


def main() -> None:
    """Measure both accounts in turns, from bare homes."""
    args = measure.parser(__doc__, rounds=5).parse_args()
    lab = json.loads((args.inventory.parent / "lab.json").read_text())
    machine = next((one for one in lab["machines"] if len(one.get("targets", ())) > 1), None)
    if machine is None:
        raise SystemExit("No machine of this lab has two users whom an admin may become.")
    users = list(machine["targets"])[:2]

    def provision(user: str) -> float:
        """Return the seconds of site.yml on one of them."""
        began = time.monotonic()
        measure.run(measure.site(args.inventory, f"{user}-{machine['name']}", *SHARED))
        return time.monotonic() - began

    def first() -> float:
        for user in users:
            on(machine, EMPTY.read_text(), user)
        # Aside, as in bare.sh: what was just deleted would make new files slow.
        on(machine, "[ ! -e /opt/nbfleet ] || mv /opt/nbfleet $(mktemp -d /srv/shared-XXXXXX)")
        return provision(users[0])

    unit = "the first account, with the prefix"
    ways: dict[str, measure.Way] = {unit: first, "a second account": lambda: provision(users[1])}
    seconds = measure.in_turns(ways, args.rounds, warm=False)
    both = ",".join(f"{user}-{machine['name']}" for user in users)
    measure.run(measure.site(args.inventory, both, *SHARED, playbook="playbooks/remove.yml"))
    measure.report("a prefix for all accounts of a machine", seconds, unit=unit, as_json=args.json)


if __name__ == "__main__":
    main()
