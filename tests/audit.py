"""Ask PyPI whether weaknesses are known of the locked packages; ends with 1 if there are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 300


def main() -> int:
    """Run pip-audit, from a venv of its own, on the lock file."""
    folder = ROOT / ".cache" / "audit"
    program = folder / "bin" / "pip-audit"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, "-r", str(ROOT / "requirements-audit.lock")], check=True)
    # The development lock holds all of the other one.
    words = [str(program), "-r", str(ROOT / "requirements-dev.lock"), "--require-hashes", "--disable-pip"]
    words += ["--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=SECONDS)
    if not done.stdout.startswith("{"):
        sys.stderr.write(f"pip-audit could not look the packages up: {done.stderr.strip().splitlines()[-1]}\n")
        return 0
    packages = json.loads(done.stdout)["dependencies"]
    unknown = sum("skip_reason" in package for package in packages)
    found = [f"{one['name']} {one['version']}: {weak['id']}" for one in packages for weak in one.get("vulns", [])]
    for line in found:
        sys.stdout.write(f"{line}\n")
    said = f"; of {unknown} the registry says nothing" if unknown else ""
    sys.stdout.write(f"{len(found)} known weaknesses in {len(packages)} locked packages{said}\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
