"""What a run costs on accounts that have no work: `python benchmarks/noop.py INVENTORY [--limit PATTERN]`.

Every way looks at the same things of each account. The raw way is the floor: one ssh per account with the survey's own
script, all at once. pyinfra keeps no connection between two runs, so the like of it is the line without live masters.
"""

from __future__ import annotations

import base64
import concurrent.futures
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import measure
from measure import command, site, up

if TYPE_CHECKING:
    from nbfleet.endpoint import Reach

UNIT = "nbfleet-jupyter.service"
QUESTION = {
    "SURVEY_PREFIX": "@HOME@/miniconda3",
    "SURVEY_RECEIPT": "@HOME@/.local/state/nbfleet/receipt",
    "SURVEY_OWNER": "@HOME@/.config/nbfleet/machine",
    "SURVEY_WANTED": "none",
    "SURVEY_THINGS": "",
    "SURVEY_KEEPERS": f"user {UNIT} /run/user/@UID@/nbfleet",
    "SURVEY_KEPT": "@HOME@/.config/nbfleet/keeper",
    "SURVEY_LINGER": "yes",
    "SURVEY_LISTENER": "/run/user/@UID@/nbfleet/jupyter.sock",
}
RAW, FULL = "raw ssh, all at once", "site.yml, survey_trust=false"


def ssh(account: Reach, control: Path, script: str) -> str:
    """Run a script on an account over a master that stays; return what it printed."""
    shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={control}/%C", "-o", "ControlPersist=1800"]
    coded = base64.b64encode(script.encode()).decode()
    return measure.ssh(account, f"echo {coded} | base64 -d | sh", *shared)


def ask_all(accounts: dict[str, Reach], control: Path) -> None:
    """Ask all accounts at once, each by one ssh."""
    script = "".join(f"{key}={shlex.quote(value)}\n" for key, value in QUESTION.items())
    script += (measure.ROOT / "roles" / "survey" / "files" / "survey.sh").read_text()

    def ask(name: str) -> None:
        answer = ssh(accounts[name], control, script)
        if "receipt=yes" not in answer or "listening=yes" not in answer:
            raise SystemExit(f"{name} is not converged; run the site playbook first.")

    with concurrent.futures.ThreadPoolExecutor(len(accounts)) as pool:
        list(pool.map(ask, accounts))


def pyinfra_words(accounts: dict[str, Reach], folder: Path) -> list[str]:
    """Prepare pyinfra to want what each account's receipt says that it has; return its command."""
    config = folder / "ssh_config"
    measure.flat_config(accounts, config)

    def wanted(name: str) -> tuple[str, dict[str, object]]:
        receipt = ssh(accounts[name], folder, "cat ~/.local/state/nbfleet/receipt").splitlines()[1:-1]
        things = [line.split(" ", 2) for line in receipt]
        files = []
        for _, path, state in (thing for thing in things if thing[0] == "file" and thing[2] != "gone"):
            copy = folder / name / path.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            coded = ssh(accounts[name], folder, f"base64 {shlex.quote(path)}")
            copy.write_bytes(base64.b64decode(coded))
            files.append([path, state.partition(":")[0], str(copy)])
        data: dict[str, object] = {
            kind: [thing[1:] for thing in things if thing[0] == kind] for kind in ("link", "tree")
        }
        data["gone"] = [path for kind, path, state in things if kind == "file" and state == "gone"]
        data["there"] = [path for kind, path, _ in things if kind in {"exists", "secret"}]
        return name, {"ssh_config_file": str(config), "files": files, "unit": UNIT, **data}

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        hosts = list(pool.map(wanted, accounts))
    (folder / "inventory.py").write_text(f"accounts = {hosts!r}\n")
    program = measure.tool("pyinfra", "pyinfra==3.10.0") / "pyinfra"
    deploy = Path(__file__).with_name("pyinfra_deploy.py")
    return [str(program), "-y", "--parallel", "50", str(folder / "inventory.py"), str(deploy)]


def main() -> None:
    """Measure all ways in turns."""
    parser = measure.parser(__doc__)
    parser.add_argument(
        "--no-full", action="store_true", help="leave out the run through all roles, which takes longest"
    )
    args = parser.parse_args()
    accounts = measure.accounts(args.inventory, args.limit)
    where = (args.inventory, args.limit)
    with measure.masters() as (control, live), tempfile.TemporaryDirectory(prefix="nbb-") as folder:
        with measure.setup("pyinfra"):
            peer = pyinfra_words(accounts, Path(folder))
        ways = {
            RAW: lambda: ask_all(accounts, control),
            "site.yml": command(site(*where), environment=live),
            "nbfleet up": command(up(*where)),
            "site.yml, no live masters": command(site(*where), environment=measure.COLD),
            "pyinfra, own connections": command(peer),
            FULL: command(site(*where, "-e", "survey_trust=false"), environment=live),
        }
        if args.no_full:
            del ways[FULL]
        seconds = measure.in_turns(ways, args.rounds, once=[FULL] if len(accounts) > 16 else [])
    measure.report("a run without work", seconds, unit=RAW, as_json=args.json, accounts=len(accounts))


if __name__ == "__main__":
    main()
