"""Downloads the wheels that a lock pins, with the machine's own pip configuration."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .suites import Suite


def platform_options(suite: Suite) -> list[str]:
    """What pip shall believe about the account's machine: the release's Python and glibc."""
    return [
        "--only-binary=:all:", "--implementation=cp", "--abi=abi3", "--abi=none",
        f"--python-version={suite.python}", f"--abi=cp{suite.tag}",
        *(f"--platform=manylinux_2_{minor}_x86_64" for minor in range(suite.glibc, 4, -1)),
        "--platform=manylinux2014_x86_64", "--platform=manylinux2010_x86_64", "--platform=manylinux1_x86_64",
    ]  # fmt: skip


def groups(lock: str) -> list[str]:
    """The lock's lines in groups that pip takes in one call each: no name twice in a group."""
    found: list[dict[str, str]] = []
    for line in lock.splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name = text.partition("==")[0].lower()
        for group in found:
            if name not in group:
                group[name] = text
                break
        else:
            found.append({name: text})
    return ["\n".join(group.values()) + "\n" for group in found]


def fetch(lock: str, folder: Path, suite: Suite) -> list[Path]:
    """Download every wheel of the lock; pip verifies the hashes.

    Args:
        lock: Its text: `name==version --hash=sha256:...` lines.
        folder: Where the wheels go.
        suite: The release that they are for.

    Returns:
        The wheels, by name.

    Raises:
        RuntimeError: pip failed; its last lines are the message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, group in enumerate(groups(lock)):
        listing = folder / f"group{number}.txt"
        listing.write_text(group)
        done = subprocess.run(
            [
                sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps",
                "--dest", str(folder),
                *platform_options(suite), "--requirement", str(listing),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            message = f"pip could not download the stand-in's wheels: {done.stderr.strip()[-600:]}"
            raise RuntimeError(message)
    return sorted(folder.glob("*.whl"))
