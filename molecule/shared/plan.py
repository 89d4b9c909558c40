"""Works out what the lab should be and what it is now; changes nothing.

``plan.py show [STANDIN]`` prints one JSON object: the lab's machines, networks and files as they should be, which of
them are wrong, and which containers and networks have to go first. STANDIN is the line that the stand-in's builder
prints. ``plan.py remains`` prints the containers and networks that a lab of this name has left, whatever their state.
``plan.py route`` says whether this machine still reaches its package registries around the lab's bridges.

The lab's name is ``$NBFLEET_LAB`` (default ``test``), its folder ``$NBFLEET_LAB_DIR`` (default ``.lab/NAME`` in the
checkout). ``$NBFLEET_LAB_UPSTREAM=1`` asks for a lab with a way out to the vendor's servers instead of the stand-in.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import ipaddress
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
# RFC 2544's range for tests on isolated networks; one slot is 64 addresses: 32 outside and 32 inside the bastion.
POOL = ipaddress.IPv4Network("198.18.0.0/15")
SLOT_PREFIX = 26
SLOTS = 2 ** (SLOT_PREFIX - POOL.prefixlen)
NETWORKS = ("outer", "inner")
FILES = ("id_ed25519", "id_ed25519.pub", "known_hosts", "ssh_config", "hosts.yml", "lab.json")
ANSWER_WITHIN = 8  # seconds for one question to a machine that is up

Json = dict[str, Any]


class LabError(Exception):
    """What keeps the lab from being planned, as one sentence for the person who asked for it."""


def run(*argv: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command and return its outcome, whatever it is.

    Args:
        argv: The program and its arguments.
        timeout: Seconds it may take.

    Raises:
        LabError: The program is not installed or did not end in time.
    """
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError:
        message = f"{argv[0]} is not installed: run molecule/shared/prerequisites first."
        raise LabError(message) from None
    except subprocess.TimeoutExpired:
        message = f"'{' '.join(argv[:3])}' gave no answer within {timeout:.0f} s: is podman healthy?"
        raise LabError(message) from None


def ask(*argv: str) -> Any:  # noqa: ANN401 -- JSON has no narrower type
    """Return the JSON that a command prints; None where it prints nothing.

    Raises:
        LabError: The command failed.
    """
    outcome = run(*argv)
    if outcome.returncode != 0:
        last = (outcome.stderr.strip().splitlines() or ["no message"])[-1]
        message = f"'{' '.join(argv[:3])}' failed: {last}"
        raise LabError(message)
    return json.loads(outcome.stdout) if outcome.stdout.strip() else None


class Lab:
    """One lab: who it is, derived from the environment and the checkout's path."""

    def __init__(self) -> None:
        self.name = os.environ.get("NBFLEET_LAB") or "test"
        if not re.fullmatch(r"[a-z][a-z0-9]{0,15}", self.name):
            message = f"NBFLEET_LAB is '{self.name}': use up to 16 small letters and digits, a letter first."
            raise LabError(message)
        self.directory = Path(os.environ.get("NBFLEET_LAB_DIR") or CHECKOUT / ".lab" / self.name).resolve()
        self.upstream = os.environ.get("NBFLEET_LAB_UPSTREAM") == "1"
        self.seed = hashlib.sha256(f"{CHECKOUT}\0{self.name}".encode()).hexdigest()
        place = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:6]
        self.prefix = f"nbfleet-{place}-{self.name}"

    def machines(self) -> dict[str, Json]:
        """Return the machines of this lab as vars/lab.yml defines them, each with its number for the addresses."""
        text = yaml.safe_load((Path(__file__).parent / "vars" / "lab.yml").read_text(encoding="utf-8"))
        wanted = text["labs"].get(self.name, text["labs"]["test"])
        return {
            name: {"number": number, **machine}
            for number, (name, machine) in enumerate(text["machines"].items(), start=2)
            if name in wanted and not (self.upstream and machine["role"] == "channel")
        }

    def containers(self) -> dict[str, Json]:
        """Return this lab's containers by name, running or not."""
        found = ask("podman", "ps", "--all", "--filter", f"name=^{self.prefix}-", "--format", "json") or []
        return {entry["Names"][0]: entry for entry in found}

    def networks(self) -> list[Json]:
        """Return all of podman's networks on this machine, this lab's marked with ``ours``."""
        ours = {f"{self.prefix}-{kind}" for kind in NETWORKS}
        # One question: what was listed first might be gone when it is asked for, where other labs come and go.
        found = ask("podman", "network", "ls", "--format", "json") or []
        return [{"ours": network["name"] in ours, **network} for network in found]


def registries() -> dict[str, set[str]]:
    """Return the hosts that this machine's apt and pip are configured for, with their IPv4 addresses."""
    uris: set[str] = set()
    if shutil.which("apt-get"):
        uris.update(run("apt-get", "indextargets", "--format", "$(REPO_URI)").stdout.split())
    try:
        # pip may be absent, and only pip knows its own default.
        from pip._internal.models.index import PyPI

        uris.update((PyPI.simple_url, f"https://{PyPI.file_storage_domain}"))
        shown = run(sys.executable, "-m", "pip", "config", "list").stdout
        uris.update(re.findall(r"https?://[^\s'\"\\]+", shown))
    except ImportError:
        pass
    hosts = {host for uri in uris if (host := urlsplit(uri).hostname)}
    hosts.update(
        host for name, uri in os.environ.items() if name.lower().endswith("_proxy") and (host := urlsplit(uri).hostname)
    )

    def resolve(host: str) -> set[str]:
        try:
            return {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, socket.AF_INET)}
        except OSError:
            return set()

    pool = concurrent.futures.ThreadPoolExecutor(max_workers=8)
    answers = {host: pool.submit(resolve, host) for host in sorted(hosts)}
    concurrent.futures.wait(answers.values(), timeout=ANSWER_WITHIN)
    pool.shutdown(wait=False, cancel_futures=True)
    return {host: answer.result() for host, answer in answers.items() if answer.done()}


def slot_network(slot: int) -> ipaddress.IPv4Network:
    """Return the addresses of a slot."""
    first = int(POOL.network_address) + slot * 2 ** (32 - SLOT_PREFIX)
    return ipaddress.IPv4Network((first, SLOT_PREFIX))


def choose_slot(seed: str, taken: list[tuple[ipaddress.IPv4Network, str]]) -> tuple[int, str]:
    """Choose the addresses of a lab.

    Args:
        seed: Hexadecimal text; the same seed prefers the same slot.
        taken: What may not overlap with the slot, each with the words that name it.

    Returns:
        The slot, and what was in the way of the preferred one ("" if nothing was).

    Raises:
        LabError: Every slot is taken.
    """
    preferred = int(seed[:8], 16) % SLOTS
    obstacle = ""
    for slot in ((preferred + step) % SLOTS for step in range(SLOTS)):
        network = slot_network(slot)
        clash = next((words for other, words in taken if other.overlaps(network)), "")
        if not clash:
            return slot, obstacle
        obstacle = obstacle or f"{network} is taken by {clash}"
    message = f"every part of {POOL} is taken on this machine ({obstacle}): remove a network first."
    raise LabError(message)


def taken_networks(networks: list[Json]) -> list[tuple[ipaddress.IPv4Network, str]]:
    """Return what the lab must keep off: other networks of podman, this machine's routes, the package registries."""
    taken: list[tuple[ipaddress.IPv4Network, str]] = []
    own_bridges = set()
    for network in networks:
        if network["ours"]:
            own_bridges.add(network.get("network_interface"))
            continue
        for subnet in network.get("subnets") or []:
            parsed = ipaddress.ip_network(subnet["subnet"])
            if isinstance(parsed, ipaddress.IPv4Network):
                taken.append((parsed, f"podman's network {network['name']}"))
    for route in ask("ip", "-json", "-4", "route", "show", "table", "all") or []:
        destination = route["dst"]
        if destination == "default" or route.get("dev") in own_bridges:
            continue
        parsed = ipaddress.ip_network(destination, strict=False)
        if isinstance(parsed, ipaddress.IPv4Network) and parsed.prefixlen >= POOL.prefixlen:
            taken.append((parsed, f"the route {destination} over {route.get('dev', 'this machine')}"))
    for host, addresses in registries().items():
        taken.extend((ipaddress.IPv4Network(address), f"{host}, which packages come from") for address in addresses)
    return taken


def kept_slot(networks: list[Json]) -> int | None:
    """Return the slot of the lab's existing networks; None if there are none or they do not belong together."""
    labels = {(network.get("labels") or {}).get("nbfleet.slot") for network in networks if network["ours"]}
    label = labels.pop() if len(labels) == 1 else None
    return int(label) if label and label.isdigit() and int(label) < SLOTS else None


def sshd_settings(machine: Json, plan: Json) -> str:
    """Return the lines that make a machine's sshd a bastion or a node behind it; "" for a machine without sshd."""
    if machine["role"] == "channel":
        return ""
    nodes = [other for other in plan["machines"] if other["role"] == "node"]
    bastion = next(other for other in plan["machines"] if other["role"] == "bastion")
    lines = [
        f"Port {machine['port']}",
        "HostKey /etc/ssh/ssh_host_ed25519_key",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin no",
        # More than sshd's 10 unauthenticated connections at a time: many forks, many tunnels.
        "MaxStartups 100:30:200",
    ]
    if machine["role"] == "bastion":
        goals = " ".join(f"{goal}:{node['port']}" for node in nodes for goal in (node["address"], node["name"]))
        lines += [
            "AllowUsers " + " ".join(machine["users"]),
            "AllowAgentForwarding no",
            "X11Forwarding no",
            "PermitTTY no",
            f"PermitOpen {goals}",
        ]
    else:
        lines.append("AllowUsers " + " ".join(f"{user}@{bastion['address']}" for user in machine["users"]))
    return "\n".join(lines) + "\n"


def arguments(machine: Json, plan: Json, standin: Json) -> list[str]:
    """Return the arguments of ``podman run`` for a machine, without its image and command."""
    result = [
        f"--name={machine['container']}",
        f"--hostname={machine['name']}",
        *(["--systemd=false", "--tmpfs=/run"] if machine["init"] else ["--systemd=always", "--stop-signal=SIGRTMIN+3"]),
        "--stop-timeout=20",
        # Debian 13's polkit needs it; without it every question about lingering hangs.
        "--cap-add=SYS_ADMIN",
        # As on a Debian machine: a modest soft limit that programs such as Jupyter may raise by themselves, as far as
        # this machine's own limit allows.
        f"--ulimit=nofile=1024:{min(524288, resource.getrlimit(resource.RLIMIT_NOFILE)[1])}",
        "--ulimit=nproc=8192:8192",
        "--pids-limit=8192",
        "--tmpfs=/tmp:rw,nosuid,nodev,mode=1777",
        f"--label=nbfleet.lab={plan['prefix']}",
    ]
    for kind, address in machine["addresses"].items():
        # A fixed MAC: after a restart the others' ARP caches are still right.
        mac = "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))
        result.append(f"--network={plan['networks'][kind]['name']}:ip={address},mac={mac}")
    if machine["init"]:
        result.append(f"--volume={Path(__file__).parent / machine['init']}:/sbin/lab-init:ro")
    result += [f"--volume={plan['prefix']}-home-{user}:/home/{user}" for user in machine["shared"]]
    result += [f"--add-host={other['name']}:{other['address']}" for other in plan["machines"] if other is not machine]
    if machine["role"] == "channel":
        server = Path(__file__).parent / "files" / "channel.py"
        result += [f"--volume={standin['root']}:/srv/channel:ro", f"--volume={server}:/opt/channel.py:ro"]
    return result


def describe(lab: Lab, standin: Json) -> Json:
    """Return the lab as it should be."""
    networks = lab.networks()
    # Networks that stand were chosen with the same care; the route is checked again at the end.
    kept = kept_slot(networks)
    slot, moved = (kept, "") if kept is not None else choose_slot(lab.seed, taken_networks(networks))
    halves = dict(zip(NETWORKS, slot_network(slot).subnets(new_prefix=SLOT_PREFIX + 1), strict=True))
    plan: Json = {
        "lab": lab.name,
        "directory": str(lab.directory),
        "prefix": lab.prefix,
        "upstream": lab.upstream,
        "moved": moved,
        "networks": {
            kind: {
                "name": f"{lab.prefix}-{kind}",
                "subnet": str(half),
                "gateway": str(half.network_address + 1),
                # Without the vendor's servers nothing in the lab has a way out: what is tested needs the stand-in only.
                "internal": not (lab.upstream and kind == "inner"),
                "slot": slot,
            }
            for kind, half in halves.items()
        },
        "machines": [],
        "standin": standin,
    }
    for name, machine in lab.machines().items():
        kinds = NETWORKS if machine["role"] == "bastion" else ("inner",)
        addresses = {kind: str(halves[kind].network_address + machine["number"]) for kind in kinds}
        plan["machines"].append(
            {
                "name": name,
                "container": f"{lab.prefix}-{name}",
                "role": machine["role"],
                "suite": machine["suite"],
                "port": machine["port"],
                "users": machine["users"] | machine.get("shared", {}),
                "shared": list(machine.get("shared", {})),
                "admin": machine.get("admin", ""),
                "targets": machine.get("targets", {}),
                "init": machine.get("init", ""),
                "addresses": addresses,
                "address": addresses["inner"],
            }
        )
    image = str(Path(__file__).parent / "image")
    suites = sorted({machine["suite"] for machine in plan["machines"]})
    plan["suites"] = suites
    images = {suite: run(image, "name", suite).stdout.strip() for suite in suites}
    setup = (Path(__file__).parent / "files" / "setup.sh").read_text(encoding="utf-8")
    for machine in plan["machines"]:
        machine["image"] = images[machine["suite"]]
        machine["sshd"] = sshd_settings(machine, plan)
        machine["arguments"] = arguments(machine, plan, standin)
        definition = json.dumps([machine, setup], sort_keys=True)
        digest = hashlib.sha256(definition.encode()).hexdigest()[:12]
        machine["definition"] = digest
        machine["arguments"].append(f"--label=nbfleet.definition={digest}")
    return plan


def answers(machine: Json, plan: Json) -> str:
    """Ask a machine that seems to run for what it is there for.

    Returns:
        "" if it answers, else what is wrong in a few words.
    """
    if machine["role"] == "channel":
        url = f"http://{machine['address']}:{machine['port']}/miniconda/{plan['standin']['installer']}"
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=ANSWER_WITHIN):
                return ""
        except (urllib.error.URLError, OSError) as error:
            return f"it does not serve the installer ({error})"
    bastion = next(other for other in plan["machines"] if other["role"] == "bastion")
    jump = f"{next(iter(bastion['users']))}@{bastion['addresses']['outer']}:{bastion['port']}"
    options = ["-F", f"{plan['directory']}/ssh_config", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={ANSWER_WITHIN}"]
    if machine["role"] == "bastion":
        argv = ["ssh", *options, f"ssh://{jump}", "true"]
    else:
        argv = ["ssh", *options, "-J", jump, f"{next(iter(machine['users']))}@{machine['address']}", "true"]
    try:
        outcome = run(*argv, timeout=2 * ANSWER_WITHIN)
    except LabError as error:
        return str(error)
    lines = outcome.stderr.strip().splitlines() or [f"status {outcome.returncode}"]
    return "" if outcome.returncode == 0 else f"ssh: {lines[0]}"


def diagnose(plan: Json, lab: Lab) -> None:
    """Add to the plan what is wrong with the lab that is there: ``reasons``, ``remove``, ``run``, ``healthy``."""
    reasons: list[str] = []
    found = {network["name"]: network for network in lab.networks() if network["ours"]}
    network_wrong: list[str] = []
    for network in plan["networks"].values():
        present = found.get(network["name"])
        if present is None:
            network["state"] = "absent"
            continue
        subnets = [subnet["subnet"] for subnet in present.get("subnets") or []]
        right = subnets == [network["subnet"]] and present.get("internal", False) == network["internal"]
        network["state"] = "right" if right else "wrong"
        if not right:
            network_wrong.append(network["name"])
            reasons.append(f"network {network['name']} is not what it should be")
    containers = lab.containers()
    if containers and any(network["state"] == "absent" for network in plan["networks"].values()):
        reasons.append("a network is missing")
    whole = all(network["state"] == "right" for network in plan["networks"].values())
    remove = []
    for machine in plan["machines"]:
        present = containers.pop(machine["container"], None)
        if present is None:
            machine["state"] = "absent"
            continue
        labels = present.get("Labels") or {}
        if labels.get("nbfleet.definition") != machine["definition"]:
            trouble = "its definition has changed"
        elif present.get("State") != "running":
            trouble = f"its container is {present.get('State', 'lost')}"
        else:
            trouble = "" if whole else "its network has to be made again"
        machine["state"] = "wrong" if trouble else "right"
        if trouble:
            remove.append(machine["container"])
            reasons.append(f"{machine['name']}: {trouble}")
    for stranger in containers:
        remove.append(stranger)
        reasons.append(f"{stranger} is not part of this lab any more")
    missing = [name for name in FILES if not (lab.directory / name).is_file()]
    states = {machine["state"] for machine in plan["machines"]}
    if missing and states != {"absent"}:
        reasons.append(f"missing in {lab.directory}: {', '.join(missing)}")
    if states == {"right"} and not missing:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            troubles = list(pool.map(lambda machine: answers(machine, plan), plan["machines"]))
        for machine, trouble in zip(plan["machines"], troubles, strict=True):
            if trouble:
                reasons.append(f"{machine['name']}: {trouble}")
                # A node that cannot be reached because the bastion is broken is not to blame itself.
                if machine["role"] != "node" or not troubles[0]:
                    remove.append(machine["container"])
                    machine["state"] = "wrong"
    if states == {"absent"} and not remove:
        reasons.append("there is no lab yet")
    plan["reasons"] = reasons
    plan["remove"] = {"containers": remove, "networks": network_wrong}
    plan["healthy"] = not reasons and states == {"right"}


def remains(lab: Lab) -> Json:
    """Return what a lab of this name has left on this machine: podman's things, and the files that we know of."""
    files = [lab.directory / name for name in FILES]
    files += sorted(lab.directory.glob("*.before.json"))
    # While molecule runs it still writes there itself.
    if "MOLECULE_EPHEMERAL_DIRECTORY" not in os.environ:
        files.append(lab.directory / "molecule")
    return {
        "directory": str(lab.directory),
        "containers": sorted(lab.containers()),
        "volumes": run("podman", "volume", "ls", "--quiet", "--filter", f"name=^{lab.prefix}-").stdout.split(),
        "networks": [network["name"] for network in lab.networks() if network["ours"]],
        "files": [str(file) for file in files],
    }


def route(lab: Lab) -> None:
    """Check that no package registry is looked for on the lab's bridges.

    Raises:
        LabError: One is.
    """
    bridges = {network.get("network_interface") for network in lab.networks() if network["ours"]}
    for host, addresses in registries().items():
        for address in sorted(addresses):
            outcome = run("ip", "-json", "route", "get", address)
            hops = json.loads(outcome.stdout) if outcome.returncode == 0 and outcome.stdout.strip() else []
            if any(hop.get("dev") in bridges for hop in hops):
                message = (
                    f"the lab's network hides {host} ({address}), which packages come from: destroy the lab and "
                    "make it again, it then chooses other addresses."
                )
                raise LabError(message)


def main(argv: list[str]) -> int:
    """Answer one question about the lab on standard output; 1 and one sentence on standard error if it cannot."""
    try:
        if os.geteuid() != 0:
            message = "the lab needs root, for its networks and for machines with systemd: run this with sudo."
            raise LabError(message)
        lab = Lab()
        match argv:
            case ["show", *rest]:
                standin = json.loads(rest[0]) if rest and rest[0] else {}
                if not lab.upstream and not standin:
                    message = "the stand-in is missing: give the line that its builder prints."
                    raise LabError(message)
                plan = describe(lab, standin)
                diagnose(plan, lab)
                print(json.dumps(plan))  # noqa: T201 -- the answer
            case ["remains"]:
                print(json.dumps(remains(lab)))  # noqa: T201 -- the answer
            case ["route"]:
                route(lab)
            case _:
                message = "usage: plan.py show [STANDIN] | remains | route"
                raise LabError(message)
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
