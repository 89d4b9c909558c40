"""Renews `wheels.lock`: asks pip which wheels the channel's packages need, and notes them with their hashes.

`python tests/standin/lock.py` needs the network; nothing else calls it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.standin.builder.download import PLATFORM_OPTIONS  # noqa: E402 - after the path is set

#: What the channel shall hold, with everything that these need.
WANTED = [
    "jupyter", "notebook>=7", "jupyterlab", "ipython", "ipykernel", "jupyter-resource-usage", "bash_kernel",
    "pip", "setuptools", "wheel", "certifi", "ruamel.yaml", "py-rattler>=0.28,<0.29", "six", "tqdm", "webcolors",
]  # fmt: skip
#: Second versions, without what they need: for updates, downgrades and requests that cannot be fulfilled.
OLDER = ["notebook<7.6", "jupyterlab<4.6", "webcolors<25", "six<1.17"]


def _ask(wanted: list[str], *more: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            [
                sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
                "--report", str(report),
                "--target", folder, *PLATFORM_OPTIONS, *more, *wanted,
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"pip found no set of wheels: {done.stderr.strip()[-800:]}")
        found = json.loads(report.read_text())["install"]
    lines = []
    for item in found:
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{item['metadata']['name']}=={item['metadata']['version']} --hash=sha256:{digest}")
    return sorted(lines, key=str.lower)


def main() -> None:
    """Write the lock."""
    text = "# Written by lock.py: the wheels of the stand-in's channel.\n"
    text += "\n".join(_ask(WANTED)) + "\n"
    text += "# Second versions of some.\n"
    text += "\n".join(_ask(OLDER, "--no-deps")) + "\n"
    (HERE / "wheels.lock").write_text(text)


if __name__ == "__main__":
    main()
