"""Builds the stand-in distribution: a conda channel and an installer, from PyPI's wheels and Debian's packages.

`python tests/standin/build.py --cache DIR [--suite SUITE]` prints one JSON line; a second call with the same
inputs returns at once.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import fcntl
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

#: Finished builds of a release that are kept in the cache besides the current one.
_KEEP = 1


def inputs_hash(suite: str) -> str:
    """The hash of everything that the result depends on: the builder, the front end, the lock."""
    digest = hashlib.sha256()
    files = [HERE / "build.py", _lock(suite), *(HERE / "builder").rglob("*"), *(HERE / "frontend").rglob("*")]
    for path in sorted(files):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.relative_to(HERE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _lock(suite: str) -> Path:
    return HERE / f"wheels-{suite}.lock"


def _write_one(job: tuple[Any, Path]) -> dict[str, Any]:
    from tests.standin.builder import archive

    package, channel = job
    return archive.write(package, channel)


def _convert_one(job: tuple[Any, dict[str, Any], Path]) -> dict[str, Any]:
    from tests.standin.builder import archive, wheels

    wheel, known, channel = job
    return archive.write(wheels.convert(wheel, known), channel)


def build(root: Path, work: Path, name: str) -> dict[str, Any]:
    """Build everything.

    Args:
        root: The folder to be served.
        work: A folder for what is needed on the way.
        name: The Debian release that Python comes from.

    Returns:
        The answer that is printed.
    """
    from tests.standin.builder import debian, download, index, installer, own, wheels
    from tests.standin.builder.suites import SUITES

    suite, channel = SUITES[name], root / "conda-forge"
    debs_folder = work / "debian"
    debs_folder.mkdir()
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(download.fetch, _lock(name).read_text(), work / "wheels", suite)
        debs = debian.fetch(debs_folder, suite)
        packages = [*debian.libraries(debs), debian.python(debs, debs_folder)]
        files = waiting.result()
    read = [wheels.read(path, suite) for path in files]
    known: dict[str, wheels.Wheel] = {}
    for wheel in read:
        known[wheel.name] = wheel
    packages += [own.conda(HERE / "frontend", suite), own.ca_certificates(known["certifi"]), own.python_abi(suite)]
    entries = [_write_one((package, channel)) for package in packages]
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        entries += pool.map(_convert_one, [(wheel, known, channel) for wheel in read], chunksize=4)
    index.write(channel, entries)
    header = (HERE / "frontend" / "shell" / "header.sh").read_text()
    digest = installer.build(channel, entries, header, root / "miniconda" / installer.FILE, suite)
    return {
        "root": str(root),
        "installer": installer.FILE,
        "sha256": digest,
        "version": installer.VERSION,
        "channel": channel.name,
    }


def _sweep(cache: Path, current: str) -> None:
    """Drop builds of older inputs of the same release."""
    old = [path for path in cache.glob(f"{current.partition('-')[0]}-*") if path.name != current]
    old.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in old[_KEEP:]:
        shutil.rmtree(path, ignore_errors=True)


def main() -> int:
    """Build, or find what was built."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="where builds are kept")
    parser.add_argument("--suite", default="bookworm", help="the Debian release that Python comes from")
    args = parser.parse_args()
    cache: Path = args.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    key = f"{args.suite}-{inputs_hash(args.suite)}"
    answer_file = cache / key / "answer.json"
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answer_file.exists():
            with tempfile.TemporaryDirectory(prefix=".work-", dir=cache) as name:
                work = Path(name)
                try:
                    answer = build(work / "root", work, args.suite)
                except RuntimeError as error:
                    sys.stderr.write(f"The stand-in could not be built: {error}\n")
                    return 1
                shutil.rmtree(cache / key, ignore_errors=True)
                (cache / key).mkdir()
                (work / "root").rename(cache / key / "root")
                answer["root"] = str(cache / key / "root")
                answer_file.write_text(json.dumps(answer) + "\n")
            _sweep(cache, key)
    sys.stdout.write(answer_file.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
