"""What each choice buys: `python benchmarks/choices.py INVENTORY [--limit PATTERN]`, on accounts without work.

Each line differs from the first of its kind in one setting.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import measure
from measure import command, site


def main() -> None:
    """Measure a run that ends at the survey and one through all roles, each with one choice taken back."""
    args = measure.parser(__doc__).parse_args()
    accounts = measure.accounts(args.inventory, args.limit)
    where = (args.inventory, args.limit)
    full = ("-e", "survey_trust=false")
    with measure.masters() as (_, live), tempfile.TemporaryDirectory(prefix="nbb-") as folder:
        linear = Path(folder, "site.yml")
        for name in ("roles", "group_vars"):
            Path(folder, name).symlink_to(measure.ROOT / name)
        text = (measure.ROOT / "playbooks" / "site.yml").read_text()
        linear.write_text(text.replace("strategy: ansible.builtin.free", "strategy: ansible.builtin.linear"))
        ways = {
            "survey": command(site(*where), environment=live),
            "survey, no live masters": command(site(*where), environment=measure.COLD),
            "survey, 5 forks": command(site(*where, "--forks", "5"), environment=live),
            "survey, strategy linear": command(site(*where, playbook=linear), environment=live),
            "all roles": command(site(*where, *full), environment=live),
            "all roles, no pipelining": command(site(*where, *full), environment={**live, "ANSIBLE_PIPELINING": "0"}),
            "all roles, no live masters": command(site(*where, *full), environment=measure.COLD),
            "all roles, 5 forks": command(site(*where, *full, "--forks", "5"), environment=live),
            "all roles, strategy linear": command(site(*where, *full, playbook=linear), environment=live),
        }
        seconds = measure.in_turns(ways, args.rounds)
    measure.report("one choice taken back", seconds, unit="survey", as_json=args.json, accounts=len(accounts))


if __name__ == "__main__":
    main()
