"""Asks rattler's solver what shall be installed."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
from typing import TYPE_CHECKING, Any

from .errors import CondaValueError, PackagesNotFoundInChannelsError, UnsatisfiableError

if TYPE_CHECKING:
    from pathlib import Path

    import rattler

    from .context import Context
    from .records import Installed

Indexes = "list[tuple[str, str, Path]]"


def spec_name(spec: str) -> str:
    """The package's name in a spec."""
    text = spec.rpartition("::")[2]
    return re.split(r"[\s=<>!~\[]", text.strip(), maxsplit=1)[0].lower()


def normal(spec: str) -> str:
    """A spec as rattler wants it; conda's `name=1.2` and pip-like `name>=1` are understood by both."""
    import rattler

    try:
        rattler.MatchSpec(spec)
    except Exception as error:
        message = f"invalid package specification: {spec!r}: {error}"
        raise CondaValueError(message) from error
    return spec


def history_specs(prefix: Path) -> dict[str, str]:
    """What was asked for in an environment before: name -> spec, from conda-meta/history."""
    wanted: dict[str, str] = {}
    history = prefix / "conda-meta" / "history"
    if not history.is_file():
        return wanted
    for line in history.read_text().splitlines():
        found = re.match(r"# (update|remove) specs: (\[.*\])$", line)
        if not found:
            continue
        for spec in ast.literal_eval(found.group(2)):
            if found.group(1) == "remove":
                wanted.pop(spec_name(spec), None)
            else:
                wanted[spec_name(spec)] = spec
    return wanted


def pinned(prefix: Path, context: Context) -> list[str]:
    """The pins of the configuration and of conda-meta/pinned."""
    lines = [str(item) for item in context.get("pinned_packages")]
    path = prefix / "conda-meta" / "pinned"
    if path.is_file():
        lines += [line.strip() for line in path.read_text().splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _sources(indexes: list[tuple[str, str, Path]]) -> list[Any]:
    import rattler

    return [rattler.SparseRepoData(rattler.Channel(url), subdir, path) for url, subdir, path in indexes]


def check_known(specs: list[str], indexes: list[tuple[str, str, Path]], channels: list[str]) -> None:
    """Refuse specs that no package of the channels fits.

    Raises:
        PackagesNotFoundInChannelsError: Names them all.
    """
    import rattler

    sources = _sources(indexes)
    names = {spec: spec_name(spec) for spec in specs}
    missing = []
    for spec, name in names.items():
        match = rattler.MatchSpec(spec)
        candidates = (
            [record for source in sources for record in source.load_records(rattler.PackageName(name))]
            if not name.startswith("__")
            else []
        )
        if not any(match.matches(record) for record in candidates):
            missing.append(spec)
    if missing:
        raise PackagesNotFoundInChannelsError(missing, channels)


def solve(
    specs: list[str],
    indexes: list[tuple[str, str, Path]],
    context: Context,
    *,
    locked: list[Installed],
    constraints: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Find the packages that fulfil specs.

    Args:
        specs: What is wanted.
        indexes: The channels' indexes, best channel first.
        context: The configuration.
        locked: Installed packages that are kept where possible.
        constraints: What must hold for packages that happen to be chosen.

    Returns:
        The packages, as records with `fn`, `url` and `channel`.

    Raises:
        UnsatisfiableError: There is no solution.
    """
    import rattler
    from rattler.exceptions import SolverError

    priority = context.get("channel_priority")
    # py-rattler 0.25, the last one for Python 3.9, cannot be asked for it, and must be told of pip.
    knows = "add_pip_as_python_dependency" in inspect.signature(rattler.solve_with_sparse_repodata).parameters
    with_pip = bool(context.get("add_pip_as_python_dependency"))
    more: dict[str, Any] = {"add_pip_as_python_dependency": with_pip} if knows else {}

    async def ask(specs: list[str]) -> list[rattler.RepoDataRecord]:
        return await rattler.solve_with_sparse_repodata(
            # As objects: from text the solver reads more strictly, and not conda's own name=version=build.
            [rattler.MatchSpec(spec) for spec in specs],
            _sources(indexes),
            locked_packages=[rattler.PrefixRecord.from_path(item.path) for item in locked if item.path],
            virtual_packages=[one.into_generic() for one in rattler.VirtualPackage.detect()],
            channel_priority=rattler.ChannelPriority.Disabled
            if priority == "disabled"
            else rattler.ChannelPriority.Strict,
            constraints=constraints or [],
            **more,
        )

    try:
        found = asyncio.run(ask(specs))
        if with_pip and not knows and any(record.name.normalized == "python" for record in found):
            found = asyncio.run(ask([*specs, "pip"]))
    except SolverError as error:
        text = str(error).strip()
        text = re.sub(r"^Cannot solve the request because of: ", "", text)
        raise UnsatisfiableError(text) from error
    return [as_record(record) for record in found]


def as_record(record: rattler.RepoDataRecord) -> dict[str, Any]:
    """A record of rattler as a plain dictionary."""
    data: dict[str, Any] = json.loads(record.to_json())
    for inner in ("package_record", "repodata_record"):
        if isinstance(data.get(inner), dict):
            data |= data.pop(inner)
    data["url"] = record.url
    data["fn"] = record.file_name
    data["channel"] = record.url.rpartition("/")[0]
    data["name"] = record.name.normalized
    data["version"] = str(record.version)
    data["build"] = str(record.build)
    data["subdir"] = str(record.subdir)
    for key in ("files", "paths_data", "link", "requested_spec", "requested_specs", "extracted_package_dir"):
        data.pop(key, None)
    return data


def explicit_records(lines: list[str]) -> list[dict[str, Any]]:
    """The packages of an `@EXPLICIT` file's lines: addresses or paths, with `#md5` or `#sha256` behind.

    Raises:
        CondaValueError: A line is no package's address.
    """
    records = []
    for line in lines:
        url, _, digest = line.partition("#")
        if "://" not in url:
            from pathlib import Path

            url = Path(url).resolve().as_uri()
        head, _, name = url.rpartition("/")
        base = name.removesuffix(".conda").removesuffix(".tar.bz2")
        parts = base.rsplit("-", 2)
        if base == name or len(parts) != 3:
            message = f"Could not parse explicit URL: {line}"
            raise CondaValueError(message)
        record: dict[str, Any] = {
            "fn": name, "url": url, "channel": head, "subdir": head.rpartition("/")[2],
            "name": parts[0], "version": parts[1], "build": parts[2],
        }  # fmt: skip
        digest = digest.removeprefix("sha256:").removeprefix("md5:")
        if len(digest) == 64:
            record["sha256"] = digest
        elif len(digest) == 32:
            record["md5"] = digest
        elif digest:
            message = f"Could not parse explicit URL: {line}"
            raise CondaValueError(message)
        records.append(record)
    return records
