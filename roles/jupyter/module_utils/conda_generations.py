# SPDX-License-Identifier: Apache-2.0
"""Generations: environments that stand side by side for one name, and the link of that name to the one that counts.

conda writes an environment's path into its files, so none can be moved and live elsewhere. Each one is built where it
stays, as NAME-1, NAME-2 …, and NAME is a link. An environment from before there were links lies at NAME itself; while
another one counts it is put aside as NAME-0, and lives again when it is put back.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .conda_records import Environment, write
from .conda_specs import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator


def current(name: Path) -> Path:
    """Return the folder that counts for a name: where its link leads, or the folder itself."""
    return name.parent / name.readlink() if name.is_symlink() else name


def of(name: Path, base: Path) -> list[Environment]:
    """Return the generations of a name that we made, the one left last first, the one that counts among them."""
    folders = [folder for folder in name.parent.glob(f"{name.name}-*") if _number(name, folder) is not None]
    found = [Environment(folder, base) for folder in folders if folder.is_dir() and not folder.is_symlink()]
    ours = [one for one in found if one.marker.get("name") == str(name) or one.half_made]
    return sorted(ours, key=lambda one: float(one.marker.get("left") or 0), reverse=True)


def _number(name: Path, folder: Path) -> int | None:
    found = re.fullmatch(re.escape(name.name) + r"-(\d+)", folder.name)
    return int(found[1]) if found else None


def place(name: Path, base: Path) -> Path:
    """Return where the environment of a name is, or has to be made."""
    if os.path.lexists(name) or name == base:
        return current(name)
    # Our notes of a creation from before there were links.
    if Environment(name, base).begun:
        return name
    # Somebody took the link away, or we were ended between two steps.
    for one in of(name, base):
        if one.exists and not one.half_made:
            return one.path
    return fresh(name)


def fresh(name: Path) -> Path:
    """Return a place for a new generation, with a number that none has had before it."""
    taken = [number for folder in name.parent.glob(f"{name.name}-*") if (number := _number(name, folder)) is not None]
    return name.with_name(f"{name.name}-{max(taken, default=0) + 1}")


def belongs(name: Path, folder: Path, base: Path) -> None:
    """Note in a generation what it is one of."""
    _note(Environment(folder, base), name=str(name))


def _note(environment: Environment, **words: str | float) -> None:
    marker = {**environment.marker, **words}
    if marker != environment.marker:
        write(environment.marker_file, json.dumps(marker, indent=1) + "\n", 0o644)


def point(name: Path, folder: Path) -> None:
    """Make a name a link to a generation, in one step."""
    new = name.with_name(f".{name.name}.nbfleet-new")
    new.parent.mkdir(parents=True, exist_ok=True)
    new.unlink(missing_ok=True)
    new.symlink_to(folder.name)
    new.replace(name)


def switch(name: Path, folder: Path, base: Path, *, refused: str = "") -> Path:
    """Let another generation count; return where it is from now on.

    Args:
        name: The name.
        folder: The generation, where it is now.
        base: conda's prefix.
        refused: A word for a lock that is not to be applied to this generation, since it was left for it.
    """
    now = Environment(current(name), base)
    if now.path != folder and now.exists:
        _note(now, name=str(name), left=time.time())
    if folder != name:
        _note(Environment(folder, base), name=str(name), refused=refused)
    if not name.is_symlink() and name.is_dir() and folder != name:
        aside = name.with_name(f"{name.name}-0")
        name.rename(aside)
        _note(Environment(aside, base), aside=True)
    if Environment(folder, base).marker.get("aside"):
        name.unlink(missing_ok=True)
        folder.rename(name)
        _note(Environment(name, base), aside=False)
        return name
    point(name, folder)
    return folder


def former(name: Path, base: Path) -> Environment | None:
    """Return the generation that counted before the present one; None where there is none."""
    for one in of(name, base):
        if one.path != current(name) and one.marker.get("left") and one.exists:
            return one
    return None


def spare(name: Path, base: Path, keep: int) -> list[Environment]:
    """Return the generations that may go: those beyond the `keep` last ones, and those that never counted."""
    others = [one for one in of(name, base) if one.path != current(name)]
    kept = [one for one in others if one.marker.get("left")][:keep]
    return [one for one in others if one not in kept and not in_use(one.path)]


def unused(name: Path, base: Path) -> list[Environment]:
    """Return the generations that were built and never counted."""
    others = [one for one in of(name, base) if one.path != current(name) and not one.marker.get("left")]
    return [one for one in others if not in_use(one.path)]


def drop(environment: Environment) -> None:
    """Remove a generation with our notes beside it."""
    shutil.rmtree(environment.path)
    environment.begun_file.unlink(missing_ok=True)
    environment.lock_file.unlink(missing_ok=True)


def in_use(folder: Path) -> bool:
    """Say whether a process of this user runs a program of the folder."""
    return any(path.startswith(f"{os.path.realpath(folder)}/") for path in _programs())


def _programs() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield str((process / "exe").readlink())


def require_switchable(name: Path, base: Path, *, running_stays: bool) -> None:
    """Refuse where no generation can stand beside what is there.

    Raises:
        Refusal: It is conda's base, another hand's, not there, or the running server could not stay in it.
    """
    now = Environment(current(name), base)
    if name == base:
        raise Refusal(f"{name} is conda's base environment, beside which none can be built; name one of its own")
    if not now.exists or now.half_made:
        raise Refusal(f"there is no environment in {name} to be upgraded; provision the account first")
    if not now.marker.get("made"):
        raise Refusal(f"{name} was made by another hand, which has to upgrade it")
    if running_stays and now.path == name and in_use(name):
        raise Refusal(
            f"{name} is a folder, as an earlier release made it, and its server cannot stay in it when a link takes "
            "its place; restart it with the upgrade, now or when it is idle"
        )
