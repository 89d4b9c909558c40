"""Renews the locks: asks uv which wheels the channel's packages need, and notes them with their hashes.

`python tests/standin/lock.py [SUITE…]` needs the network and uv; nothing else calls it.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.standin.builder import download, wheels  # noqa: E402 - after the path is set
from tests.standin.builder.suites import SUITES, Suite  # noqa: E402

#: What the channel shall hold, with everything that these need.
WANTED = [
    "jupyter", "notebook>=7", "jupyterlab", "ipython", "ipykernel", "jupyter-resource-usage", "bash_kernel",
    "pip", "setuptools", "wheel", "certifi", "ruamel.yaml", "py-rattler<0.29", "six", "tqdm", "webcolors",
]  # fmt: skip
#: Second versions, without what they need: for updates, downgrades and requests that cannot be fulfilled.
OLDER = ["notebook<7.6", "jupyterlab<4.6", "webcolors<25", "six<1.17"]


def _ask(suite: Suite, wanted: list[str], *more: str) -> list[str]:
    # uv chooses, as pip measures markers such as `python_version < "3.10"` against the Python that it runs on.
    platform = f"--python-platform=x86_64-manylinux_2_{suite.glibc}"
    options = ["--quiet", "--no-header", "--no-annotate", "--only-binary=:all:", f"--python-version={suite.python}"]
    chosen = _run("\n".join(wanted), "uv", "pip", "compile", *options, platform, *more, "-")
    with tempfile.TemporaryDirectory() as folder:
        options = ["--quiet", "--no-deps", "--dest", folder, *download.platform_options(suite)]
        _run("", sys.executable, "-m", "pip", "download", *options, *chosen.split())
        found = [(wheels.read(path, suite), path.read_bytes()) for path in Path(folder).glob("*.whl")]
    lines = [
        f"{wheel.metadata['Name']}=={wheel.version} --hash=sha256:{hashlib.sha256(data).hexdigest()}"
        for wheel, data in found
    ]
    return sorted(lines, key=str.lower)


def _run(given: str, *command: str) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} found no set of wheels: {done.stderr.strip()[-800:]}")
    return done.stdout


def main() -> None:
    """Write the lock of each release that is named, or of all."""
    for name in sys.argv[1:] or SUITES:
        newest, older = _ask(SUITES[name], WANTED), _ask(SUITES[name], OLDER, "--no-deps")
        text = "# Written by lock.py: the wheels of the stand-in's channel.\n"
        text += "".join(f"{line}\n" for line in newest)
        text += "# Second versions of some.\n"
        text += "".join(f"{line}\n" for line in older if line not in newest)
        (HERE / f"wheels-{name}.lock").write_text(text)


if __name__ == "__main__":
    main()
