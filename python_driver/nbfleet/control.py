"""The private folder of the SSH masters, and the SSH configuration that gives every hop its own."""

from __future__ import annotations

import hashlib
import os
import pwd
import shlex
import stat
import sys
from pathlib import Path

from nbfleet import client, process
from nbfleet.errors import SetupError

LONGEST = 90  # bytes of a ControlPath; ssh appends a random suffix while it binds
HASHED = 41  # a slash and what ssh makes of %C
PERSIST = 300  # seconds that an unused master stays
# Two minutes without a word end a run's connection: a short gap of the network is outlived, and no task waits for ever.
PATIENCE = ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=8"]
_MARK = "# Written by nbfleet: one shared connection per hop; over "


def control_folder() -> Path:
    """Return the folder of the control sockets: mine, 0700, its path short.

    Raises:
        SetupError: Somebody else owns the place, or there is none.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    choices = [Path(runtime) / "nbfleet-ssh"] if runtime and Path(runtime).is_dir() else []
    choices.append(Path("/tmp") / f"nbfleet-{os.getuid()}")  # noqa: S108 - ownership and mode are checked below
    short = [path for path in choices if len(os.fsencode(path)) + HASHED <= LONGEST]
    reason = ""
    for path in short:
        try:
            path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            reason = f"{path}: {error.strerror}"
            continue
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            path.chmod(0o700)
            return path
        reason = f"{path} belongs to somebody else"
    raise SetupError(
        f"No private folder for the SSH connections: {reason}.",
        hint="Set XDG_RUNTIME_DIR to a folder of your own with a short path.",
    )


def write_config(folder: Path, *, user_config: str | None, batch: bool) -> Path:
    """Write the SSH configuration for a connection and all its hops, and return its path.

    It adds the masters and leaves everything else to the user's own configuration, host key checking above all.
    It is one file because `-F` reaches a jump host and `-o` does not.

    Args:
        folder: The folder of the control sockets.
        user_config: The file that would be used without us; None for the user's and the system's.
        batch: True if nobody can answer a prompt.
    """
    if user_config == "none":
        includes = []
    elif user_config:
        includes = [str(Path(user_config).expanduser().absolute())]
    else:
        includes = ["~/.ssh/config", "/etc/ssh/ssh_config"]
    shared = ["  ControlMaster auto", f"  ControlPath {folder}/%C", f"  ControlPersist {PERSIST}"]
    told = [f'Include "{path}"' for path in includes]
    if client.version() < client.JUMP:  # older_ssh gives each call its control path, and Include is not known
        shared, told = [], [_read(path) for path in includes]
    lines = [
        _MARK + written_over(user_config),
        "Host *",
        *shared,
        *(["  BatchMode yes"] if batch else []),
        *told,
        "Host *",
        "  ConnectTimeout 15",
        "  ServerAliveInterval 10",
        "  ServerAliveCountMax 3",
        "",
    ]
    text = "\n".join(lines)
    return _write(folder / f"config-{hashlib.sha256(text.encode()).hexdigest()[:12]}", text, mode=0o600)


def written_over(config: str | None) -> str:
    """Return the user's own file behind a configuration of ours, or that file itself; "" for the usual ones."""
    path = Path(config or "").expanduser().absolute()
    if not config or config == "none" or not path.is_file():
        return config or ""
    with path.open(errors="replace") as file:
        first = file.readline().rstrip("\n")
    return first.removeprefix(_MARK) if first.startswith(_MARK) else str(path)


def ssh_program(folder: Path) -> str:
    """Return the ssh to call: the installed one, or before 7.3 a program that speaks to it in its own words."""
    if client.version() >= client.JUMP:
        return "ssh"
    text = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m nbfleet.older_ssh "$@"\n'
    return str(_write(folder / f"ssh-{hashlib.sha256(text.encode()).hexdigest()[:12]}", text, mode=0o700))


def _read(path: str) -> str:
    """Return what stands in an SSH configuration; ssh takes the home from the user database, and so do we."""
    place = Path(pwd.getpwuid(os.getuid()).pw_dir, path.removeprefix("~/"))
    return place.read_text() if os.access(place, os.R_OK) else ""


def _write(path: Path, text: str, *, mode: int) -> Path:
    """Write a file unless it is there; another process never sees the half of it."""
    if not path.exists() or path.read_text() != text:
        new = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
            file.write(text)
        new.replace(path)
    return path


def ansible_environment(folder: Path, *, user_config: str | None) -> dict[str, str]:
    """Return the environment by which Ansible shares the masters.

    An inventory with a -F of its own keeps it (ssh takes the last one); then the master of the account is shared, as
    the ControlPath is the same, and a new connection to the jump host is Ansible's own.
    """
    config = write_config(folder, user_config=user_config, batch=False)
    options = ["-F", f'"{config}"', "-o", "ControlMaster=auto", "-o", f"ControlPersist={PERSIST}", *PATIENCE]
    program = ssh_program(folder)
    return {
        **({"ANSIBLE_SSH_EXECUTABLE": program} if program != "ssh" else {}),
        "ANSIBLE_SSH_ARGS": " ".join([*options, "-o", f'ControlPath="{folder}/%C"']),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder),
        "ANSIBLE_SSH_CONTROL_PATH": "%(directory)s/%%C",
        "ANSIBLE_SSH_PIPELINING": "True",
    }


def close_since(moment: float) -> None:
    """End the masters that were opened after `moment`, in seconds since the epoch, whoever opened them."""
    from concurrent.futures import ThreadPoolExecutor

    folder = control_folder()
    young = [path for path in folder.iterdir() if path.is_socket() and path.stat().st_ctime >= moment]
    ssh = ssh_program(folder)
    orders = [[ssh, "-F", "none", "-o", f"ControlPath={path}", "-O", "exit", "--", "any"] for path in young]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda order: process.run(order, timeout=2), orders))
