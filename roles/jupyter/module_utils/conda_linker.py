# SPDX-License-Identifier: Apache-2.0
"""Unpacks and links packages by py-rattler: a program of its own, so that nothing of that library outlives it.

It is handed to the prefix's Python whole, followed by a call of main() with the job: `linker` (the folder that holds
py-rattler), `certificates`, `cache`, `prefix`, `fresh` (checked archives to unpack, with url, size and hashes),
`packages` (stem and url of each package to link), `reinstall` (names that are linked anew though they are there),
`gone` (names that go), `specs`. It prints one JSON object: `refused` when py-rattler does not run here, `error`, or
neither.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any


def _unpack(cache: Path, known: dict[str, Any]) -> None:
    from rattler.package_streaming import extract

    folder = cache / known["stem"]
    fresh = folder.with_name(f".{folder.name}.nbfleet-new")
    shutil.rmtree(fresh, ignore_errors=True)
    extract(cache / known["fn"], fresh)
    record = json.loads((fresh / "info" / "index.json").read_text(encoding="utf-8"))
    record |= {key: value for key, value in known.items() if key != "stem"}
    record["channel"] = known["url"].rpartition("/")[0]
    (fresh / "info" / "repodata_record.json").write_text(json.dumps(record, indent=2, sort_keys=True), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


async def _link(job: dict[str, Any]) -> None:
    import rattler
    from rattler.package_cache import PackageCache, PackageCacheLayer, ValidationMode

    cache, prefix = Path(job["cache"]), Path(job["prefix"])
    wanted = []
    for package in job["packages"]:
        file = cache / package["stem"] / "info" / "repodata_record.json"
        known = json.loads(file.read_text(encoding="utf-8"))
        record = rattler.PackageRecord.from_index_json(file, known.get("size"), known.get("sha256"), known.get("md5"))
        subdir, _, archive = package["url"].rpartition("/")
        wanted.append(rattler.RepoDataRecord(record, archive, package["url"], subdir))
    present = [rattler.PrefixRecord.from_path(file) for file in sorted((prefix / "conda-meta").glob("*.json"))]
    leaving = {record.name.normalized for record in wanted} | set(job["gone"])
    wanted += [record for record in present if record.name.normalized not in leaving]
    tag = prefix / "CACHEDIR.TAG"
    tagged = tag.exists()
    layer = PackageCacheLayer(cache).with_validation_mode(ValidationMode.skip())
    await rattler.install(
        wanted,
        prefix,
        installed_packages=present,
        reinstall_packages=set(job["reinstall"]),
        show_progress=False,
        execute_link_scripts=True,  # as conda does
        # py-rattler 0.28 hands these on as they are, so they must be its inner objects.
        requested_specs=[rattler.MatchSpec(spec)._match_spec for spec in job["specs"]],  # noqa: SLF001
        package_cache=PackageCache.from_layers([layer]),
    )
    if not tagged:
        # rattler takes an environment for a cache, and backups would leave it out.
        tag.unlink(missing_ok=True)


def main(job: dict[str, Any]) -> None:
    """Do the job, answer, and end this process."""
    # rattler panics where the machine has no certificates, also when it needs none.
    if Path(job["certificates"]).exists():
        os.environ["SSL_CERT_FILE"] = job["certificates"]
    sys.path.insert(0, job["linker"])
    answer = {}
    try:
        import asyncio

        import rattler  # noqa: F401 - whether it can be imported is a question of its own
    except BaseException as error:
        answer["refused"] = f"{type(error).__name__}: {error}"
    else:
        try:
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda known: _unpack(Path(job["cache"]), known), job["fresh"]))
            asyncio.run(_link(job))
        except BaseException as error:
            answer["error"] = f"{type(error).__name__}: {error}"
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    sys.stdout.flush()
    # rattler's threads make the interpreter's own end unsafe.
    os._exit(0)
