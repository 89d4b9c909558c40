"""Links packages into a prefix: a process of its own, so that it can be stopped, and nothing of it outlives it.

`python -m conda.linker` reads one JSON object on stdin: `prefix`, `alias` (the prefix that is written into files, if
another), `records` (the packages that shall be there), `folders` (name -> unpacked folder), `reinstall` (names),
`specs` (what was asked for). On failure it prints the error's text and ends with 1.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any


def _places(job: dict[str, Any]) -> dict[str, Any]:
    """Where the unpacked packages are, and what prefix is written into files; in the words of the py-rattler here."""
    try:
        from rattler.package_cache import PackageCache, PackageCacheLayer, ValidationMode
    except ImportError:
        # 0.25, the last one for Python 3.9, knows one cache, which it writes to, and no other prefix: see bootstrap.py.
        folder = Path(tempfile.mkdtemp())
        for unpacked in job["folders"].values():
            (folder / Path(unpacked).name).symlink_to(unpacked)
        return {"cache_dir": folder}
    caches = list(dict.fromkeys(str(Path(unpacked).parent) for unpacked in job["folders"].values()))
    layers = [PackageCacheLayer(cache).with_validation_mode(ValidationMode.skip()) for cache in caches]
    return {
        "alternative_target_prefix": job.get("alias"),
        "package_cache": PackageCache.from_layers(layers) if layers else None,
    }


async def _link(job: dict[str, Any]) -> None:
    import rattler

    prefix = Path(job["prefix"])
    build: Any = getattr(rattler, "BuildString", str)
    present = [rattler.PrefixRecord.from_path(path) for path in sorted((prefix / "conda-meta").glob("*.json"))]
    by_identity = {(one.name.normalized, str(one.version), str(one.build)): one for one in present}
    wanted: list[rattler.RepoDataRecord] = []
    for record in job["records"]:
        old = by_identity.get((record["name"], record["version"], record["build"]))
        if old is not None and record["name"] not in job["reinstall"]:
            wanted.append(old)
            continue
        package = rattler.PackageRecord(
            name=record["name"],
            version=record["version"],
            build=build(record["build"]),
            build_number=int(record["build_number"]),
            subdir=record["subdir"],
            arch=record.get("arch"),
            platform=record.get("platform"),
            noarch=record.get("noarch"),
            depends=list(record.get("depends", [])),
            constrains=list(record.get("constrains", [])),
            sha256=bytes.fromhex(record["sha256"]) if record.get("sha256") else None,
            md5=bytes.fromhex(record["md5"]) if record.get("md5") else None,
            size=record.get("size"),
            license=record.get("license"),
        )
        wanted.append(rattler.RepoDataRecord(package, record["fn"], record["url"], record["channel"]))
    places = _places(job)
    await rattler.install(
        wanted,
        prefix,
        installed_packages=present,
        reinstall_packages=set(job["reinstall"]),
        show_progress=False,
        execute_link_scripts=False,
        # py-rattler 0.28 hands these on as they are, so they must be its inner objects.
        requested_specs=[rattler.MatchSpec(spec)._match_spec for spec in job["specs"]],  # noqa: SLF001
        **places,
    )
    if "cache_dir" in places:
        shutil.rmtree(places["cache_dir"])


def main() -> None:
    """Do the job given on stdin."""
    job = json.loads(sys.stdin.read())
    code = 0
    try:
        asyncio.run(_link(job))
    except Exception as error:
        sys.stdout.write(f"{type(error).__name__}: {error}\n")
        code = 1
    sys.stdout.flush()
    # rattler's threads make the interpreter's own end unsafe.
    os._exit(code)


if __name__ == "__main__":
    main()
