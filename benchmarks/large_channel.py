"""A channel whose index is as large as conda-forge's, for `first.py --large`.

The real records of the lab's channel stand among made-up ones: 30,000 names, 500,000 records with hashes that do not
compress. The made-up packages need only each other, so the answer of a solve stays what it was.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import measure
import zstandard

if TYPE_CHECKING:
    from pathlib import Path

NAMES, RECORDS = 30_000, 500_000
PORT = 8081
SEED = 1


def index(folder: Path, real: Path, subdir: str, records: int) -> None:
    """Write the index of one subdir: the real one's records and made-up ones."""
    chance = random.Random(f"{SEED} {subdir}")  # noqa: S311 -- nothing here is secret
    whole = json.loads((real / subdir / "repodata.json").read_text())
    packages: dict[str, dict[str, Any]] = whole["packages.conda"]
    each = RECORDS // NAMES  # of one name
    names = records // each
    for number in range(records):
        name, version = f"made-up-{subdir}-{number // each}", f"{number % each}.{chance.randrange(10)}.0"
        build = f"h{chance.randbytes(4).hex()[:7]}_{number % 3}"
        others = [f"made-up-{subdir}-{chance.randrange(names)} >={chance.randrange(9)}.0,<20.0a0" for _ in range(4)]
        packages[f"{name}-{version}-{build}.conda"] = {
            "build": build,
            "build_number": number % 3,
            "depends": others,
            "license": "BSD-3-Clause",
            "md5": chance.randbytes(16).hex(),
            "name": name,
            "sha256": chance.randbytes(32).hex(),
            "size": chance.randrange(10_000, 5_000_000),
            "subdir": subdir,
            "timestamp": 1_600_000_000_000 + number,
            "version": version,
        }
    text = json.dumps(whole).encode()
    place = folder / subdir
    place.mkdir(parents=True, exist_ok=True)
    (place / "repodata.json").write_bytes(text)
    (place / "repodata.json.zst").write_bytes(zstandard.ZstdCompressor(level=3).compress(text))
    sys.stderr.write(f"{subdir}: {len(packages)} records, {len(text) / 2**20:.0f} MB\n")


def serve(container: str, real: Path) -> int:
    """Make the index, once, and serve it on the channel's machine at the pace of a link; return the port."""
    folder = measure.ROOT / ".cache" / "benchmarks" / f"large-{real.parent.name}"
    done = folder / "done"
    if not done.exists():
        for subdir in ("linux-64", "noarch"):
            index(folder / "conda-forge", real / "conda-forge", subdir, RECORDS // 2)
        done.touch()
    paced = measure.ROOT / "benchmarks" / "paced_channel.py"
    measure.run(["podman", "exec", container, "sh", "-c", "pkill -f '[p]aced_channel.py' || true"])
    measure.run(["podman", "exec", container, "rm", "-rf", "/srv/large"])
    measure.run(["podman", "cp", str(folder), f"{container}:/srv/large"])
    measure.run(["podman", "cp", str(paced), f"{container}:/opt/paced_channel.py"])
    words = ["podman", "exec", "--detach", container, "python3", "/opt/paced_channel.py", str(PORT)]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    return PORT
