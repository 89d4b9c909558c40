"""`conda clean`."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from . import output

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from .context import Context


def _tree_size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _unused(folder: Path) -> bool:
    """Whether no environment has files of an unpacked package: a hard link counts two."""
    return all(
        path.lstat().st_nlink < 2
        for path in folder.rglob("*")
        if path.is_file() and "info" not in path.relative_to(folder).parts[:1]
    )


def clean(args: argparse.Namespace, context: Context) -> int:
    """`conda clean`."""
    every = args.all
    report: dict[str, Any] = {"success": True}
    removed: list[Path] = []
    for kind, wanted in (("tarballs", every or args.tarballs), ("packages", every or args.packages)):
        if not wanted:
            continue
        sizes: dict[str, dict[str, int]] = {}
        for cache in context.pkgs_dirs:
            if not cache.is_dir():
                continue
            found: dict[str, int] = {}
            for path in sorted(cache.iterdir()):
                if kind == "tarballs" and path.is_file() and path.name.endswith((".conda", ".tar.bz2")):
                    found[path.name] = path.stat().st_size
                elif (
                    kind == "packages"
                    and (path / "info" / "index.json").is_file()
                    and (args.force_pkgs_dirs or _unused(path))
                ):
                    found[path.name] = _tree_size(path)
            sizes[str(cache)] = found
            removed.extend(cache / name for name in found)
        report[kind] = {
            "warnings": [],
            "pkg_sizes": sizes,
            "pkgs_dirs": {folder: list(names) for folder, names in sizes.items()},
            "total_size": sum(size for names in sizes.values() for size in names.values()),
        }
    if every or args.index_cache:
        caches = [str(cache / "cache") for cache in context.pkgs_dirs if (cache / "cache").is_dir()]
        report["index_cache"] = {"files": caches}
        removed.extend(path for cache in context.pkgs_dirs if (path := cache / "cache").is_dir())
    if every or args.tempfiles:
        left = [path for cache in context.pkgs_dirs if cache.is_dir() for path in cache.glob("*.partial")]
        report["tempfiles"] = [str(path) for path in left]
        removed.extend(left)
    if not (every or args.tarballs or args.packages or args.index_cache or args.tempfiles):
        from .errors import CondaError

        error = CondaError("At least one removal target must be given. See 'conda clean --help'.")
        error.name = "ArgumentError"
        raise error
    say = output.speaker(json_wanted=args.json)
    for path in removed:
        say(f"{'Would remove' if args.dry_run else 'Removing'} {path}\n")
        if args.dry_run:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
        else:
            path.unlink(missing_ok=True)
    if args.json:
        output.as_json(report)
    elif not removed:
        say("There are no unused packages or tarballs to remove.\n")
    return 0
