"""What ansible-playbook is told, on its command line and in its environment."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nbfleet import content
from nbfleet.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORKS = 50  # accounts at once; Ansible itself starts no more workers than there are accounts


@dataclass(frozen=True)
class Options:
    """How a playbook is run.

    Attributes:
        limit: Host patterns of the user; none for all.
        names: Accounts by their exact names, whatever signs are in them.
        check: Change nothing, only predict.
        diff: Show what changes inside files.
        forks: Accounts at once.
        extra_vars: As given to -e: `key=value`, JSON, or `@file`.
        verbosity: Number of -v.
        environment: Further variables for Ansible, such as the shared SSH masters.
    """

    limit: Sequence[str] = ()
    names: Sequence[str] = ()
    check: bool = False
    diff: bool = False
    forks: int = FORKS
    extra_vars: Sequence[str] = ()
    verbosity: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)

    def only(self, names: Sequence[str]) -> Options:
        """Return the same options for some accounts."""
        return replace(self, limit=(), names=names)


def environment(folder: Path) -> dict[str, str]:
    """Return what every run sets for Ansible, whatever ansible.cfg is found."""
    programs = str(Path(sys.executable).parent)
    config = content.ansible_config()
    return {
        **({"ANSIBLE_CONFIG": str(config)} if config else {}),
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        # ansible-runner would set it to False.
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        # What a program of a run that was ended leaves behind goes with the run's folder.
        "TMPDIR": str(folder),
        "ANSIBLE_INJECT_FACT_VARS": "False",
        "ANSIBLE_NOCOLOR": "1",
    }


def command_line(options: Options, folder: Path) -> str:
    """Return further arguments for ansible-playbook; values of -e go into a private file, not into `ps`."""
    words = [*(["--check"] if options.check else []), *(["--diff"] if options.diff else [])]
    for place, given in enumerate(options.extra_vars):
        if given.startswith("@"):
            path = Path(given[1:]).expanduser().absolute()
        else:
            path = folder / f"extra-{place}.json"
            path.write_text(given if given.lstrip().startswith("{") else json.dumps(pairs(given)))
            path.chmod(0o600)
        words += ["-e", f"@{path}"]
    return shlex.join(words)


def limit(options: Options, folder: Path) -> str | None:
    """Return what --limit is given; exact names go through a file, where `:` and `@` are letters like others."""
    if options.names:
        path = folder / "names"
        path.write_text("\n".join(options.names))
        return f"@{path}"
    return ",".join(options.limit) or None


def pairs(given: str) -> dict[str, str]:
    """Return `key=value key2=value2` as a dict, as Ansible reads it.

    Raises:
        SetupError: A word has no equals sign.
    """
    words = shlex.split(given)
    if bad := [word for word in words if "=" not in word]:
        raise SetupError(f"-e {bad[0]} is not key=value.", hint="Give key=value, JSON in braces, or @file.")
    return dict(word.split("=", 1) for word in words)
