# SPDX-License-Identifier: Apache-2.0
"""What the controller keeps for accounts: files that are whole whenever they are there, and the linker's wheel."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FETCH_SECONDS = 300
# The tags of a wheel decide what pip takes for a machine that is not this one.
WHEEL_TAGS = {
    "linux-64": ["manylinux_2_17_x86_64", "manylinux2014_x86_64"],
    "linux-aarch64": ["manylinux_2_17_aarch64", "manylinux2014_aarch64", "manylinux_2_28_aarch64"],
}


def read(file: Path) -> str:
    """Return a file's text; empty when it is not there."""
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def write(file: Path, text: str) -> None:
    """Write a file under a temporary name and rename it, so that nobody ever reads half of it."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    new = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        new.chmod(0o644)
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def unwritable(folder: Path) -> str:
    """Return why no file can be kept in a folder, which is made if need be; empty when one can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return "" if os.access(folder, os.W_OK) else "not writable"


def sha256_of(requirement: str) -> str:
    """Return the one hash of a pip requirement; empty when there is none."""
    found = re.search(r"--hash=sha256:([0-9a-f]{64})", requirement)
    return found[1] if found else ""


def cache() -> Path:
    """Return the folder in which the controller keeps what it downloads for accounts."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nbfleet"


def intact(file: Path, sha256: str) -> bool:
    """Say whether a file is there and is what its hash says."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == sha256
    except OSError:
        return False


def fetch_wheel(requirement: Path, wheel: Path) -> str:
    """Have pip download the wheel that a requirement names; return why it could not, in a few words."""
    if reason := unwritable(wheel.parent):
        return f"{wheel.parent}: {reason}"
    tags = [word for tag in WHEEL_TAGS.get(requirement.stem, []) for word in ("--platform", tag)]
    with tempfile.TemporaryDirectory(dir=wheel.parent, prefix=".fetch-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--require-hashes", "--only-binary", ":all:", *tags, "--python-version", "3.10"]
        command += ["--implementation", "cp", "--abi", "abi3", "--timeout", "15", "--retries", "1"]
        command += ["-d", folder, "-r", str(requirement)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=FETCH_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return f"pip did not finish within {FETCH_SECONDS} s"
        fetched = next(Path(folder).glob("*.whl"), None)
        if done.returncode or not fetched:
            lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
            return (lines or ["pip gave no reason"])[-1].strip()[:200].removeprefix("ERROR: ")
        fetched.replace(wheel)
    return ""
