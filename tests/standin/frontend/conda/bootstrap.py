"""What the installer runs: links the packages that lie unpacked in PREFIX/pkgs into PREFIX.

The order is the vendor's: the files come first, `conda-meta/*.json` last, so that a killed installation looks the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from . import records, transaction
from .context import Context


def _records(pkgs: Path, listing: Path) -> list[dict[str, Any]]:
    wanted = [line.strip() for line in listing.read_text().splitlines()]
    found = []
    for url in wanted:
        if not url or url.startswith(("#", "@")):
            continue
        folder = pkgs / url.partition("#")[0].rpartition("/")[2].removesuffix(".conda")
        found.append(json.loads((folder / "info" / "repodata_record.json").read_text()))
    return found


def _move(stage: Path, prefix: Path) -> None:
    """Move a tree over another, file by file; `conda-meta` stays behind."""
    for path in sorted(stage.rglob("*")):
        relative = path.relative_to(stage)
        if relative.parts[0] == "conda-meta":
            continue
        place = prefix / relative
        if path.is_dir() and not path.is_symlink():
            place.mkdir(exist_ok=True)
            continue
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        path.replace(place)


def _name_the_prefix(stage: Path, prefix: Path) -> None:
    """Write the prefix into the files that name the stage, which a linker does that knows of `alias`."""
    for path in (stage / "conda-meta").glob("*.json"):
        data = json.loads(path.read_text())
        for entry in data["paths_data"]["paths"]:
            if entry.get("file_mode") == "text" or entry["path_type"] == "unix_python_entry_point":
                text = (stage / entry["_path"]).read_bytes().replace(bytes(stage), bytes(prefix))
                (stage / entry["_path"]).write_bytes(text)
                entry["sha256_in_prefix"] = hashlib.sha256(text).hexdigest()
        path.write_text(json.dumps(data, indent=2) + "\n")


def main() -> None:
    """`python -m conda.bootstrap PREFIX LISTING`."""
    prefix, listing = Path(sys.argv[1]), Path(sys.argv[2])
    stage = prefix / ".condatmp"
    messages = prefix / ".messages.txt"
    try:
        _install(prefix, listing, stage)
    except OSError as error:
        sys.stdout.write(f"\n{error}\n")
        sys.stdout.flush()
        os._exit(1)
    messages.unlink(missing_ok=True)
    sys.stdout.flush()
    os._exit(0)


def _install(prefix: Path, listing: Path, stage: Path) -> None:
    sys.stdout.write("\nPreparing transaction: ...working... done\nExecuting transaction: ...working... ")
    sys.stdout.flush()
    (prefix / ".messages.txt").write_text("")
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    wanted = _records(prefix / "pkgs", listing)
    folders = {item["name"]: str(prefix / "pkgs" / str(item["fn"]).removesuffix(".conda")) for item in wanted}
    plan = transaction.Plan(prefix, link=wanted, final=wanted)
    job = transaction._job(plan, folders) | {"prefix": str(stage), "alias": str(prefix)}  # noqa: SLF001
    failure = transaction.run_linker(job)
    if failure:
        raise OSError(failure)
    _name_the_prefix(stage, prefix)
    _move(stage, prefix)
    names = {str(item["name"]) for item in wanted}
    transaction.compile_new(prefix, names, stage / "conda-meta")
    meta = prefix / "conda-meta"
    meta.mkdir(exist_ok=True)
    for record in meta.glob("*.json"):
        if json.loads(record.read_text()).get("name") in names:
            record.unlink()
    fresh = not (meta / "history").exists() or not (meta / "history").stat().st_size
    for path in sorted((stage / "conda-meta").glob("*.json")):
        path.replace(meta / path.name)
    if fresh:
        plan.specs = ["python", "conda", "pip", "setuptools", "wheel"]
    transaction.add_history(prefix, plan, ["_conda", "install", "--offline", "--file", str(listing)])
    shutil.rmtree(stage)
    (prefix / "envs").mkdir(exist_ok=True)
    records.register(Context(prefix), prefix)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
