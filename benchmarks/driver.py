"""What the driver adds to plain Ansible: `python benchmarks/driver.py INVENTORY [--limit PATTERN]`.

The same converged accounts over live masters; then what a person feels first, the start of the program.
"""

from __future__ import annotations

import sys

import measure
from measure import command, site, up


def main() -> None:
    """Measure plain ansible-playbook, the driver, and starts of Python, driver and Ansible."""
    args = measure.parser(__doc__).parse_args()
    accounts = measure.accounts(args.inventory, args.limit)
    where = (args.inventory, args.limit)
    with measure.masters() as (_, live):
        ways = {
            "site.yml": command(site(*where), environment=live),
            "nbfleet up": command(up(*where)),
            "python -c pass": command([sys.executable, "-c", "pass"]),
            "nbfleet --help": command([sys.executable, "-m", "nbfleet", "--help"]),
            "ansible-playbook --help": command([str(measure.PROGRAMS / "ansible-playbook"), "--help"]),
        }
        seconds = measure.in_turns(ways, args.rounds)
    measure.report("the driver", seconds, unit="site.yml", as_json=args.json, accounts=len(accounts))


if __name__ == "__main__":
    main()
