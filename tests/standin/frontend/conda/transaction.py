"""Changes to a prefix: link and unlink by rattler, compile, write history; and take it all back when it fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, packages, records
from .context import PYTHON
from .errors import CondaMultiError, CondaSignalInterrupt, EmptyTupleError, PlainError, RemoveError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from .context import Context
    from .network import Session


_RECORD_KEYS = (
    "name", "version", "build", "build_number", "subdir", "arch", "platform", "noarch", "depends", "constrains",
    "sha256", "md5", "size", "license", "fn", "url", "channel",
)  # fmt: skip


@dataclass
class Plan:
    """What shall be done to a prefix.

    Attributes:
        prefix: The prefix.
        link: Packages to link: records with `fn`, `url`, `channel`, sums.
        unlink: Installed packages that go, those that are replaced included.
        final: Every package that shall be there afterwards.
        reinstall: Names of packages that are linked anew though they are there.
        specs: What was asked for, for history: kind (`update` or `remove`) and texts.
    """

    prefix: Path
    link: list[dict[str, Any]] = field(default_factory=list)
    unlink: list[records.Installed] = field(default_factory=list)
    final: list[dict[str, Any]] = field(default_factory=list)
    reinstall: set[str] = field(default_factory=set)
    kind: str = "update"
    specs: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.link and not self.unlink


def make_plan(
    prefix: Path, installed: list[records.Installed], final: list[dict[str, Any]], *, reinstall: set[str] | None = None
) -> Plan:
    """Compare what is there with what shall be there."""
    reinstall = reinstall or set()
    old = {item.name: item for item in installed}
    new = {item["name"]: item for item in final}
    link, unlink = [], []
    for name, record in new.items():
        present = old.get(name)
        same = present is not None and present.identity == (name, str(record["version"]), str(record["build"]))
        if same and name not in reinstall:
            continue
        link.append(record)
        if present is not None:
            unlink.append(present)
    unlink.extend(item for item in installed if item.name not in new)
    return Plan(prefix, link, unlink, final, reinstall & set(new))


class _Signals:
    """Holds back SIGINT and SIGTERM: they end the linking process, and are seen afterwards."""

    def __init__(self) -> None:
        self.caught: str | None = None
        self.child: subprocess.Popen[str] | None = None
        self._before: dict[int, Any] = {}

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.caught = signal.Signals(number).name
        if self.child is not None and self.child.poll() is None:
            self.child.kill()

    def __enter__(self) -> _Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def run_linker(job: dict[str, Any], signals: _Signals | None = None) -> str:
    """Run the linking process; returns the error's text, empty when it went well."""
    dropped = {"PYTHONHOME", "PYTHONSTARTUP", "SSL_CERT_DIR", "SSL_CERT_FILE"}
    env = {key: value for key, value in os.environ.items() if key not in dropped}
    # rattler makes an HTTP client even where it has nothing to fetch, and that ends in a panic on a machine without
    # any certificates, as small Debian systems are.
    for folder in (sys.prefix, job["folders"].get("ca-certificates", "")):
        bundle = Path(folder) / "ssl" / "cacert.pem"
        if bundle.is_file():
            env["SSL_CERT_FILE"] = str(bundle)
            break
    child = subprocess.Popen(
        [sys.executable, "-B", "-m", "conda.linker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
    )  # fmt: skip
    if signals is not None:
        signals.child = child
        if signals.caught:
            child.kill()
    out, err = child.communicate(json.dumps(job))
    # What rattler leaves and conda does not: the mark for backup programs; and from when it was ended, a link that it
    # tried whether links can be made, and records that it was writing.
    prefix = Path(job["prefix"])
    left = [prefix / "CACHEDIR.TAG", *prefix.glob("symtest_*"), *(prefix / "conda-meta").glob("prefix_record_*")]
    for trace in left:
        trace.unlink(missing_ok=True)
    if child.returncode == 0:
        return ""
    if child.returncode < 0 and not out.strip():
        return f"the linking process ended by signal {-child.returncode}"
    return out.strip() or err.strip() or f"the linking process ended with {child.returncode}"


def python_of(prefix: Path) -> Path | None:
    """The prefix's own interpreter, if it has one."""
    program = prefix / "bin" / "python"
    return program if program.exists() else None


def compile_new(prefix: Path, names: set[str], meta: Path | None = None) -> None:
    """Compile the Python files of packages and note the pyc files in their records, as conda does.

    Args:
        prefix: Where the files are.
        names: The packages' names.
        meta: The folder of the records, if it is not the prefix's.
    """
    program = python_of(prefix)
    if program is None:
        return
    meta = meta or prefix / "conda-meta"
    todo: dict[Path, list[str]] = {}
    for path in meta.glob("*.json"):
        data = json.loads(path.read_text())
        if data["name"] not in names:
            continue
        files = set(data.get("files", []))
        sources = [name for name in files if name.endswith(".py") and "/site-packages/" in name]
        todo[path] = sorted(name for name in sources if _pyc(name) not in files)
    listing = "\n".join(str(prefix / name) for sources in todo.values() for name in sources)
    if not listing:
        return
    threads = str(min(os.cpu_count() or 1, 4))
    subprocess.run(
        [str(program), "-Wi", "-m", "compileall", "-q", "-l", "-j", threads, "-i", "-"],
        input=listing, text=True, capture_output=True, check=False, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    for path, sources in todo.items():
        data = json.loads(path.read_text())
        made = [_pyc(name) for name in sources if (prefix / _pyc(name)).is_file()]
        data["files"] = sorted({*data.get("files", []), *made})
        paths = data.setdefault("paths_data", {"paths_version": 1, "paths": []}).setdefault("paths", [])
        paths.extend({"_path": name, "path_type": "pyc_file"} for name in made)
        write_atomically(path, json.dumps(data, indent=2) + "\n")


def _pyc(source: str) -> str:
    folder, _, name = source.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc"


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is never half there."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)


def add_history(prefix: Path, plan: Plan, command: list[str]) -> None:
    """Append a transaction to conda-meta/history."""
    lines = [
        f"==> {time.strftime('%Y-%m-%d %H:%M:%S')} <==",
        f"# cmd: {' '.join(command)}",
        f"# conda version: {__version__}",
    ]

    def place(item: dict[str, Any]) -> str:
        url = records.channel_of(str(item.get("url") or item.get("channel") or ""))
        return f"{url}/{item.get('subdir', 'noarch')}::{item['name']}-{item['version']}-{item['build']}"

    lines += sorted(f"-{place(item.data)}" for item in plan.unlink)
    lines += sorted(f"+{place(item)}" for item in plan.link)
    if plan.specs:
        lines.append(f"# {plan.kind} specs: {plan.specs!r}")
    (prefix / "conda-meta").mkdir(parents=True, exist_ok=True)
    with (prefix / "conda-meta" / "history").open("a") as history:
        history.write("\n".join(lines) + "\n")


def _job(plan: Plan, folders: dict[str, str]) -> dict[str, Any]:
    return {
        "prefix": str(plan.prefix),
        "records": [{key: item.get(key) for key in _RECORD_KEYS if item.get(key) is not None} for item in plan.final],
        "folders": folders,
        "reinstall": sorted(plan.reinstall),
        "specs": [spec for spec in plan.specs if "::" not in spec] if plan.kind == "update" else [],
    }


def execute(plan: Plan, context: Context, session: Session, command: list[str], say: Callable[[str], None]) -> None:
    """Carry a plan out.

    Args:
        plan: What shall be done.
        context: The configuration.
        session: For downloads.
        command: conda's own arguments, for history.
        say: Takes the lines of progress.

    Raises:
        CondaError: It failed; the prefix is as it was before, as far as that was possible.
    """
    say("\nDownloading and Extracting Packages: ...working... ")
    folders_list = packages.provide(plan.link, context, session)
    say("done\n")
    if context.get("download_only"):
        return
    say("Preparing transaction: ...working... done\nVerifying transaction: ...working... ")
    folders = {}
    for record, folder in zip(plan.link, folders_list):
        try:
            known = packages.verify(folder, record["name"])
            record.update({key: value for key, value in known.items() if key not in record})
        except Exception:
            say("failed\n")
            raise
        folders[record["name"]] = str(folder)
    if (
        plan.prefix == context.root
        and any(item.name == "conda" for item in plan.unlink)
        and not any(item["name"] == "conda" for item in plan.link)
    ):
        say("failed\n")
        message = (
            "Conda cannot remove itself.\n\n"
            "Cause: The planned transaction would uninstall the conda package without linking a replacement.\n"
            "Next steps:\n"
            "  - (install_conda_version) Install a specific conda version first, for example:\n"
            "      conda install conda=<version>\n"
            "  - (use_non_base_env) Use a separate environment for other packages instead of changing the base "
            "environment where conda runs."
        )
        raise RemoveError(message)
    say("done\nExecuting transaction: ...working... ")
    fresh = not (plan.prefix / "conda-meta" / "history").exists()
    existed = plan.prefix.exists()
    old = records.installed(plan.prefix) if (plan.prefix / "conda-meta").is_dir() else []
    with _Signals() as signals:
        (plan.prefix / "conda-meta").mkdir(parents=True, exist_ok=True)
        failure = run_linker(_job(plan, folders), signals)
        if not failure and not signals.caught:
            compile_new(plan.prefix, {item["name"] for item in plan.link})
            add_history(plan.prefix, plan, command)
    if failure or signals.caught:
        say("done\n")
        _fail(plan, failure, signals.caught, old, folders, say, remove=fresh and not existed)
    say("done\n")
    records.register(context, plan.prefix)


def _set_aside(prefix: Path) -> list[Path]:
    """Rename the records that cannot be read; returns their new names."""
    found = []
    for path in (prefix / "conda-meta").glob("*.json"):
        try:
            json.loads(path.read_text())
        except ValueError:
            found.append(path.rename(path.with_suffix(".cut")))
    return found


def _linked_paths(folder: Path, record: dict[str, Any]) -> Iterator[str]:
    """Where the files of an extracted package are in a prefix, the scripts that linking makes included."""
    noarch = record.get("noarch") == "python"
    for entry in json.loads((folder / "info" / "paths.json").read_text())["paths"]:
        name = str(entry["_path"])
        if noarch:
            name = name.replace("site-packages/", f"lib/python{PYTHON}/site-packages/", 1)
            name = name.replace("python-scripts/", "bin/", 1)
        yield name
    if noarch:
        for script in json.loads((folder / "info" / "link.json").read_text())["noarch"].get("entry_points", []):
            yield f"bin/{script.partition('=')[0].strip()}"


def _remove_half_linked(plan: Plan, folders: dict[str, str], old: list[records.Installed]) -> None:
    """Remove the files of packages that have no record: those that the linker was at when it ended."""
    kept = {name for item in old for name in item.data.get("files", [])}
    recorded = {item.name for item in records.installed(plan.prefix)}
    for item in plan.link:
        if item["name"] in recorded:
            continue
        for name in _linked_paths(Path(folders[item["name"]]), item):
            if name in kept:
                continue
            path = plan.prefix / name
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == plan.prefix:
                    break
                # The linker may have ended between a folder and the one in it: what is not there does not end the way.
                if not folder.is_dir():
                    continue
                if any(folder.iterdir()):
                    break
                folder.rmdir()


def _fail(
    plan: Plan,
    failure: str,
    caught: str | None,
    old: list[records.Installed],
    new_folders: dict[str, str],
    say: Callable[[str], None],
    *,
    remove: bool,
) -> None:
    """Take back what was linked, and raise."""
    full = "os error 28" in failure or "No space left" in failure
    if not caught:
        name = plan.link[0] if plan.link else {"name": "?", "version": "?", "build": "?", "url": ""}
        place = f"{records.channel_of(str(name['url']))}::{name['name']}-{name['version']}-{name['build']}"
        what = f"An error occurred while installing package '{place}'."
        sys.stderr.write(f"ERROR conda.core.link:_execute(1070): {what}\n")
    say("Rolling back transaction: ...working... ")
    if remove:
        shutil.rmtree(plan.prefix, ignore_errors=True)
    elif old:
        before = Plan(plan.prefix, final=[item.data for item in old])
        # As in conda, a record that was cut off by a full disk stays; the linker must not see it meanwhile.
        broken = _set_aside(plan.prefix)
        _remove_half_linked(plan, new_folders, old)
        folders = {item.name: Path(item.data.get("extracted_package_dir") or "/nonexistent") for item in old}
        run_linker(_job(before, {name: str(folder) for name, folder in folders.items() if folder.is_dir()}))
        for path in broken:
            path.rename(path.with_suffix(".json"))
    say("done\n")
    if caught:
        raise CondaSignalInterrupt(caught)
    error: Exception = OSError(28, "No space left on device") if full else RuntimeError(failure)
    # conda names the errors of its rollback too: an empty tuple.
    raise CondaMultiError([PlainError(error), EmptyTupleError()])
