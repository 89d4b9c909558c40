"""What is installed in a prefix: the records in conda-meta, and what pip put there."""

from __future__ import annotations

import email.parser
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import channels
from .errors import (
    CorruptedEnvironmentError,
    DirectoryNotACondaEnvironmentError,
    EnvironmentIsFrozenError,
    EnvironmentLocationNotFound,
    EnvironmentNameNotFound,
    EnvironmentNotWritableError,
)

if TYPE_CHECKING:
    from .context import Context

MAGIC = "history"


@dataclass(frozen=True)
class Installed:
    """One installed package.

    Attributes:
        data: The record of conda-meta, or the same keys for a package of pip.
        path: The record's file; nothing for a package of pip.
    """

    data: dict[str, Any]
    path: Path | None

    @property
    def name(self) -> str:
        """Name."""
        return str(self.data["name"])

    @property
    def version(self) -> str:
        """Version."""
        return str(self.data["version"])

    @property
    def build(self) -> str:
        """Build string."""
        return str(self.data["build"])

    @property
    def dist_name(self) -> str:
        """`name-version-build`."""
        return f"{self.name}-{self.version}-{self.build}"

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes it the same package as another."""
        return self.name, self.version, self.build

    @property
    def base_url(self) -> str:
        """The channel's address."""
        return channel_of(str(self.data.get("url") or self.data.get("channel") or ""))


def channel_of(url: str) -> str:
    """The channel's address in a package's address."""
    head = url.rpartition("/")[0] if url.endswith((".conda", ".tar.bz2")) else url.rstrip("/")
    for subdir in channels.SUBDIRS:
        head = head.removesuffix(f"/{subdir}")
    return head


def installed(prefix: Path) -> list[Installed]:
    """The conda packages of a prefix, by name.

    Raises:
        CorruptedEnvironmentError: A record cannot be read.
    """
    found = []
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            data = json.loads(path.read_text())
            found.append(Installed(data, path))
            _ = found[-1].dist_name
        except (ValueError, KeyError, TypeError):
            raise CorruptedEnvironmentError(prefix, path) from None
    return sorted(found, key=lambda item: item.name)


def pip_installed(prefix: Path, conda: list[Installed]) -> list[Installed]:
    """The Python packages in a prefix that no conda package brought, as conda shows them: channel `pypi`."""
    owned = {
        entry
        for item in conda
        for entry in item.data.get("files", [])
        if entry.endswith((".dist-info/METADATA", "/PKG-INFO"))
    }
    found = []
    for path in sorted(prefix.glob("lib/python3.*/site-packages/*.dist-info/METADATA")):
        if path.relative_to(prefix).as_posix() in owned:
            continue
        try:
            metadata = email.parser.HeaderParser().parsestr(path.read_text(errors="replace"))
        except OSError:
            continue
        name = re.sub(r"[-_.]+", "-", str(metadata["Name"])).lower()
        data = {
            "name": name, "version": str(metadata["Version"]), "build": "pypi_0", "build_number": 0,
            "channel": "https://conda.anaconda.org/pypi", "subdir": "pypi",
        }  # fmt: skip
        found.append(Installed(data, None))
    return found


def as_json(item: Installed, context: Context) -> dict[str, Any]:
    """A package as `conda list --json` shows it."""
    url = item.base_url
    name = channels.canonical(url, context)
    return {
        "base_url": url,
        "build_number": int(item.data.get("build_number", 0)),
        "build_string": item.build,
        "channel": name,
        "dist_name": item.dist_name,
        "name": item.name,
        "platform": item.data.get("subdir") or "",
        "version": item.version,
    }


def as_action(item: dict[str, Any], context: Context) -> dict[str, Any]:
    """A package as a transaction's `LINK` and `UNLINK` show it."""
    url = channel_of(str(item.get("url") or item.get("channel") or ""))
    return {
        "base_url": url,
        "build_number": int(item.get("build_number", 0)),
        "build_string": item["build"],
        "channel": channels.short(url, context),
        "dist_name": f"{item['name']}-{item['version']}-{item['build']}",
        "name": item["name"],
        "platform": item.get("subdir") or "",
        "version": item["version"],
    }


def is_environment(prefix: Path) -> bool:
    """Whether a folder is an environment."""
    return (prefix / "conda-meta" / MAGIC).is_file()


def locate(context: Context, name: str | None, prefix: str | None) -> Path:
    """The prefix that `-n` or `-p` mean; without either the active one, else base.

    Raises:
        EnvironmentNameNotFound: There is no environment of that name.
    """
    if prefix:
        return Path(os.path.normpath(Path(prefix).expanduser().absolute()))
    if name in {"base", "root"}:
        return context.root
    if name:
        for folder in context.envs_dirs:
            if is_environment(folder / name):
                return folder / name
        raise EnvironmentNameNotFound(name)
    active = os.environ.get("CONDA_PREFIX")
    return Path(active) if active else context.root


def new_prefix(context: Context, name: str | None, prefix: str | None) -> Path:
    """The prefix that `conda create` means."""
    if prefix or not name:
        return locate(context, None, prefix)
    if name in {"base", "root"}:
        return context.root
    for folder in context.envs_dirs:
        if (folder / name).exists():
            return folder / name
    for folder in context.envs_dirs:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        if os.access(nearest, os.W_OK):
            return folder / name
    raise EnvironmentNotWritableError(context.envs_dirs[0] / name)


def must_exist(prefix: Path, *, history: bool) -> None:
    """Refuse a prefix that is no environment.

    Args:
        prefix: The folder.
        history: Whether conda-meta/history is asked for; reading commands are content with conda-meta.
    """
    if not prefix.is_dir():
        raise EnvironmentLocationNotFound(prefix)
    if not (is_environment(prefix) if history else (prefix / "conda-meta").is_dir()):
        raise DirectoryNotACondaEnvironmentError(prefix)


def must_be_changeable(prefix: Path, context: Context, *, override_frozen: bool) -> None:
    """Refuse an environment that may not be written or that is frozen."""
    meta = prefix / "conda-meta"
    if not os.access(prefix, os.W_OK) or (meta.exists() and not os.access(meta, os.W_OK)):
        raise EnvironmentNotWritableError(prefix)
    history = meta / MAGIC
    if history.exists() and not os.access(history, os.W_OK):
        raise EnvironmentNotWritableError(prefix)
    frozen = meta / "frozen"
    if frozen.exists() and context.get("protect_frozen_envs") and not override_frozen:
        text = frozen.read_text()
        reason = str(json.loads(text).get("message", "")) if text.strip() else ""
        raise EnvironmentIsFrozenError(prefix, reason)


def known_environments(context: Context) -> list[Path]:
    """The environments: base, those in the envs folders, and those in `~/.conda/environments.txt`."""
    found = [context.root] if (context.root / "conda-meta").is_dir() else []
    for folder in context.envs_dirs:
        if folder.is_dir():
            found.extend(path for path in sorted(folder.iterdir()) if is_environment(path))
    listing = context.home / ".conda" / "environments.txt"
    if listing.is_file():
        found.extend(Path(line) for line in listing.read_text().split("\n") if line and is_environment(Path(line)))
    return list(dict.fromkeys(found))


def register(context: Context, prefix: Path) -> None:
    """Note an environment in `~/.conda/environments.txt`, and drop those that are gone; a home that cannot be
    written is no error."""  # noqa: D205, D209 - one sentence over two lines
    if not context.get("register_envs"):
        return
    listing = context.home / ".conda" / "environments.txt"
    try:
        lines = listing.read_text().split("\n") if listing.is_file() else []
        wanted = dict.fromkeys([*(line for line in lines if line), str(prefix)])
        kept = [line for line in wanted if is_environment(Path(line))]
        if kept != [line for line in lines if line]:
            listing.parent.mkdir(parents=True, exist_ok=True)
            listing.write_text("".join(f"{line}\n" for line in kept))
    except OSError:
        return


def env_name(prefix: Path, context: Context) -> str:
    """The name of an environment, or nothing if it has none."""
    if prefix == context.root:
        return "base"
    return prefix.name if prefix.parent in context.envs_dirs else ""
