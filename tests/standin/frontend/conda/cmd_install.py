"""`conda create`, `install`, `update` and `remove`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import channels, output, packages, records, repodata, solving, transaction
from .errors import (
    CondaEnvironmentError,
    CondaSystemExit,
    CondaValueError,
    DryRunExit,
    PackagesNotFoundError,
    UnsatisfiableError,
)
from .network import Session

if TYPE_CHECKING:
    import argparse

    from .context import Context

_FETCH_KEYS = (
    "name", "version", "build", "build_number", "channel", "subdir", "fn", "md5", "url", "sha256", "arch", "platform",
    "depends", "constrains", "noarch", "license", "timestamp", "size",
)  # fmt: skip
DONE = "All requested packages already installed."


def _requested(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """(specs, lines of @EXPLICIT files) of the command line and of its files."""
    specs: list[str] = []
    explicit: list[str] = []
    for item in args.packages:
        (explicit if item.endswith((".conda", ".tar.bz2")) else specs).append(item)
    for name in args.file or []:
        path = Path(name)
        if not path.is_file():
            message = f"could not read file: {name}"
            raise CondaValueError(message)
        lines = [line.strip() for line in path.read_text().splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        if "@EXPLICIT" in lines:
            explicit += [line for line in lines if line != "@EXPLICIT"]
        else:
            specs += [line.partition(" #")[0].strip() for line in lines]
    return specs, explicit


def channel_urls(args: argparse.Namespace, context: Context) -> list[str]:
    """The channels' addresses for a command."""
    own = [name for item in args.channel or [] for name in item.split(",")]
    if args.override_channels:
        if not own:
            message = "At least one -c / --channel flag must be supplied when using --override-channels."
            error = CondaValueError(message)
            error.name = "ArgumentError"
            raise error
        names = own
    else:
        names = list(dict.fromkeys(own + context.get("channels")))
    return channels.all_urls(names, context)


def _confirm(args: argparse.Namespace, context: Context, question: str, *, default: bool) -> bool:
    """Ask; -y, `always_yes` and --json answer yes, and an end of input answers with the default."""
    if args.yes or context.get("always_yes") or args.json:
        return True
    output.say(question)
    answer = sys.stdin.readline().strip().lower()
    output.say("\n")
    return default if not answer else answer in {"y", "yes"}


def _head(args: argparse.Namespace, urls: list[str], prefix: Path, context: Context) -> None:
    say = output.speaker(json_wanted=args.json)
    shown = [channels.canonical(url, context) for url in urls]
    if len(shown) == 1:
        say(f"Channel: {shown[0]}\n")
    else:
        say("Channels:\n" + "".join(f" - {name}\n" for name in shown))
    say(f"Platform: linux-64\nTarget prefix: {'<dry run>' if args.dry_run else prefix}\n")


def _plan_text(plan: transaction.Plan, context: Context, *, removed: list[str] | None = None) -> str:
    lines = ["", "## Package Plan ##", "", f"  environment location: {plan.prefix}", ""]
    title = "removed specs:" if removed is not None else "added / updated specs:"
    specs = removed if removed is not None else plan.specs
    if specs:
        lines += [f"  {title}", *(f"    - {spec}" for spec in sorted(specs)), ""]
    fetch = [item for item in plan.link if packages.needs_download(item, context)]
    if fetch:
        lines += ["", "The following packages will be downloaded:", ""]
        lines += [f"    {'package':<27}|{'build':>17}", f"    {'-' * 27}|{'-' * 17}"]
        for item in sorted(fetch, key=lambda entry: str(entry["name"])):
            place = channels.canonical(records.channel_of(str(item["url"])), context)
            left = f"{item['name']}-{item['version']}"
            lines.append(f"    {left:<27}|{item['build']:>17} {output.size(int(item.get('size') or 0)):>11}  {place}")
        total = sum(int(item.get("size") or 0) for item in fetch)
        lines += [f"    {'-' * 60}", f"{'Total:':>49} {output.size(total):>11}", ""]
    old = {item.name: item for item in plan.unlink}
    new = {str(item["name"]): item for item in plan.link}
    sections: dict[str, list[str]] = {}
    for name, item in sorted(new.items()):
        url = records.channel_of(str(item["url"]))
        where = f"{channels.short(url, context)}/{item.get('subdir', '')}"
        if name not in old:
            text = f"  {name:<18} {where}::{name}-{item['version']}-{item['build']} "
            sections.setdefault("NEW packages will be INSTALLED", []).append(text)
        else:
            was, now = f"{old[name].version}-{old[name].build}", f"{item['version']}-{item['build']}"
            kind = "UPDATED"
            if was != now:
                import rattler

                if rattler.Version(str(item["version"])) < rattler.Version(old[name].version):
                    kind = "DOWNGRADED"
            sections.setdefault(f"packages will be {kind}", []).append(f"  {name:<34} {was} --> {now} ")
    for name, gone in sorted(old.items()):
        if name not in new:
            sections.setdefault("packages will be REMOVED", []).append(f"  {name}-{gone.version}-{gone.build}")
    for heading, rows in sections.items():
        lines += ["", f"The following {heading}:", "", *rows, ""]
    return "\n".join(lines) + "\n"


def _fetch_json(item: dict[str, Any]) -> dict[str, Any]:
    return {key: item.get(key) for key in _FETCH_KEYS if key in item or key in {"arch", "platform"}}


def _result(
    plan: transaction.Plan, fetched: list[dict[str, Any]], context: Context, *, dry_run: bool
) -> dict[str, Any]:
    actions: dict[str, Any] = {}
    if fetched:
        actions["FETCH"] = [_fetch_json(item) for item in fetched]
    actions["PREFIX"] = str(plan.prefix)
    if plan.unlink:
        actions["UNLINK"] = [records.as_action(item.data, context) for item in plan.unlink]
    if plan.link:
        actions["LINK"] = [records.as_action(item, context) for item in plan.link]
    result: dict[str, Any] = {"success": True, "actions": actions, "prefix": str(plan.prefix)}
    if dry_run:
        result["dry_run"] = True
    return result


def _carry_out(args: argparse.Namespace, context: Context, session: Session, plan: transaction.Plan) -> None:
    """Show the plan, ask, do it, report."""
    say = output.speaker(json_wanted=args.json)
    if plan.empty:
        if args.json:
            output.as_json({"success": True, "message": DONE})
        else:
            say(f"\n# {DONE}\n\n")
        return
    fetched = [item for item in plan.link if packages.needs_download(item, context)]
    if not args.json:
        say(_plan_text(plan, context, removed=plan.specs if plan.kind == "remove" else None))
    if args.dry_run:
        if args.json:
            output.as_json(_result(plan, fetched, context, dry_run=True))
            return
        raise DryRunExit
    if not _confirm(args, context, "\nProceed ([y]/n)? ", default=True):
        message = "Exiting."
        raise CondaSystemExit(message)
    progress = output.silent if args.json else _quiet_download if args.quiet else output.say
    transaction.execute(plan, context, session, args.command_line, progress)
    if args.json:
        output.as_json(_result(plan, fetched, context, dry_run=False))


def _quiet_download(text: str) -> None:
    if "Downloading" not in text:
        output.say(text)


def _activation_hint(prefix: Path, context: Context) -> str:
    name = records.env_name(prefix, context) or str(prefix)
    return (
        "#\n# To activate this environment, use\n#\n"
        f"#     $ conda activate {name}\n#\n"
        "# To deactivate an active environment, use\n#\n#     $ conda deactivate\n\n"
    )


def create(args: argparse.Namespace, context: Context) -> int:
    """`conda create`."""
    if not args.name and not args.prefix:
        from .errors import CondaError

        message = "one of the arguments -n/--name -p/--prefix is required"
        error = CondaError(message)
        error.name = "ArgumentError"
        raise error
    prefix = records.new_prefix(context, args.name, args.prefix)
    if prefix == context.root:
        message = "The target prefix is the base prefix. Aborting."
        raise CondaValueError(message)
    nearest = next(path for path in (prefix, *prefix.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        from .errors import EnvironmentNotWritableError

        raise EnvironmentNotWritableError(prefix)
    if records.is_environment(prefix) and not args.dry_run:
        question = (
            f"WARNING: A conda environment already exists at '{prefix}'\n\nRemove existing environment?\n"
            "This will remove ALL directories contained within this specified prefix directory, "
            "including any other conda environments.\n\n (y/[n])? "
        )
        if not _confirm(args, context, question, default=False):
            message = "Exiting."
            raise CondaSystemExit(message)
        shutil.rmtree(prefix)
    session = Session(context)
    specs, explicit = _requested(args)
    if explicit:
        _explicit(args, context, session, prefix, explicit)
    else:
        specs = list(dict.fromkeys([*specs, *context.get("create_default_packages")]))
        plan = _solve(args, context, session, prefix, specs, [], update=False)
        if plan.empty and not args.dry_run:
            transaction.add_history(prefix, plan, args.command_line)
            records.register(context, prefix)
            if args.json:
                output.as_json({"success": True, "actions": {"PREFIX": str(prefix)}, "prefix": str(prefix)})
        else:
            _carry_out(args, context, session, plan)
    if not args.json and not args.dry_run and not args.quiet:
        output.say(_activation_hint(prefix, context))
    return 0


def _explicit(args: argparse.Namespace, context: Context, session: Session, prefix: Path, lines: list[str]) -> None:
    """Install exactly the packages of an @EXPLICIT file; with --json conda prints nothing at all."""
    wanted = solving.explicit_records(lines)
    say = output.speaker(json_wanted=args.json)
    installed = records.installed(prefix) if (prefix / "conda-meta").is_dir() else []
    present = {item.name: item for item in installed}

    def same(record: dict[str, Any]) -> bool:
        item = present.get(record["name"])
        return item is not None and item.identity == (record["name"], record["version"], record["build"])

    todo = [record for record in wanted if not same(record) or args.force_reinstall]
    say("\nDownloading and Extracting Packages: ...working... ")
    if not args.dry_run:
        for record, folder in zip(todo, packages.provide(todo, context, session)):
            index = packages.verify(folder, record["name"])
            record.update({key: value for key, value in index.items() if key not in record})
    say("done\n")
    names = {record["name"] for record in wanted}
    final = [item.data for item in installed if item.name not in names]
    final += [present[record["name"]].data if record not in todo else record for record in wanted]
    reinstall = {record["name"] for record in todo} if args.force_reinstall else set()
    plan = transaction.make_plan(prefix, installed, final, reinstall=reinstall)
    plan.specs = [
        f"{records.channel_of(item['url'])}/{item['subdir']}::{item['name']}=={item['version']}={item['build']}"
        for item in plan.link
    ]
    say(_plan_text(plan, context))
    if args.dry_run:
        raise DryRunExit
    transaction.execute(plan, context, session, args.command_line, say)


def _solve(
    args: argparse.Namespace,
    context: Context,
    session: Session,
    prefix: Path,
    specs: list[str],
    installed: list[records.Installed],
    *,
    update: bool,
) -> transaction.Plan:
    """Fetch the indexes and solve."""
    say = output.speaker(json_wanted=args.json)
    specs = [solving.normal(spec) for spec in specs]
    urls = channel_urls(args, context)
    _head(args, urls, prefix, context)
    say("Collecting package metadata (repodata.json): ...working... ")
    try:
        indexes = repodata.fetch(urls, context, session)
    except Exception:
        say("failed\n")
        raise
    say("done\nSolving environment: ...working... ")
    named = {solving.spec_name(spec) for spec in specs}
    try:
        solving.check_known(specs, indexes, urls)
        everything = bool(getattr(args, "all", False)) and update
        keep_all = bool(getattr(args, "freeze_installed", False))
        locked = [item for item in installed if keep_all or (item.name not in named and not everything)]
        before = {name: spec for name, spec in solving.history_specs(prefix).items() if "::" not in spec}
        present = {item.name for item in installed}
        base_specs = list(specs)
        for name, spec in before.items():
            if name not in named and name in present:
                base_specs.append(name if everything else spec)
        others = [item.name for item in installed if item.name not in named and item.name not in before]
        pins = solving.pinned(prefix, context)
        try:
            final = solving.solve(base_specs + others, indexes, context, locked=locked, constraints=pins)
        except UnsatisfiableError:
            if not others:
                raise
            final = solving.solve(base_specs, indexes, context, locked=locked, constraints=pins)
    except Exception:
        say("failed\n")
        raise
    say("done\n")
    reinstall = named if args.force_reinstall else set()
    plan = transaction.make_plan(prefix, installed, _prefer_installed(final, installed, reinstall), reinstall=reinstall)
    plan.specs = specs
    return plan


def _prefer_installed(
    final: list[dict[str, Any]], installed: list[records.Installed], reinstall: set[str]
) -> list[dict[str, Any]]:
    """Where the very package is there already, keep its own record."""
    present = {item.identity: item.data for item in installed}
    return [
        item
        if item["name"] in reinstall
        else present.get((str(item["name"]), str(item["version"]), str(item["build"])), item)
        for item in final
    ]


def install(args: argparse.Namespace, context: Context) -> int:
    """`conda install`."""
    return _change(args, context, update=False)


def update(args: argparse.Namespace, context: Context) -> int:
    """`conda update`."""
    return _change(args, context, update=True)


def _change(args: argparse.Namespace, context: Context, *, update: bool) -> int:
    prefix = records.locate(context, args.name, args.prefix)
    records.must_exist(prefix, history=True)
    context.target = prefix
    records.must_be_changeable(prefix, context, override_frozen=args.override_frozen)
    specs, explicit = _requested(args)
    if not specs and not explicit and not (update and args.all):
        message = "too few arguments, must supply command line package specs or --file"
        raise CondaValueError(message)
    session = Session(context)
    if explicit:
        _explicit(args, context, session, prefix, explicit)
        return 0
    installed = records.installed(prefix)
    if update:
        from .errors import PackageNotInstalledError

        names = {item.name for item in installed}
        for spec in specs:
            if solving.spec_name(spec) not in names:
                raise PackageNotInstalledError(prefix, spec)
    plan = _solve(args, context, session, prefix, specs, installed, update=update)
    _carry_out(args, context, session, plan)
    return 0


def remove(args: argparse.Namespace, context: Context) -> int:
    """`conda remove`."""
    prefix = records.locate(context, args.name, args.prefix)
    if args.all:
        return _remove_all(args, context, prefix)
    records.must_exist(prefix, history=True)
    context.target = prefix
    records.must_be_changeable(prefix, context, override_frozen=args.override_frozen)
    if not args.packages:
        message = "no package names supplied,\n       try 'conda remove -h' for more details"
        raise CondaValueError(message)
    installed = records.installed(prefix)
    names = {item.name for item in installed}
    asked = [solving.spec_name(spec) for spec in args.packages]
    absent = [spec for spec, name in zip(args.packages, asked) if name not in names]
    if absent:
        raise PackagesNotFoundError(prefix, absent)
    gone = set(asked)
    # Whatever needs a removed package goes with it; what is needed only by them stays, as with conda's default history.
    changed = True
    while changed:
        changed = False
        for item in installed:
            needs = {solving.spec_name(str(spec)) for spec in item.data.get("depends", [])}
            if item.name not in gone and needs & gone:
                gone.add(item.name)
                changed = True
    if prefix == context.root and "conda" in gone and "conda" not in asked:
        message = f"└─ conda * cannot be installed because it needs {', '.join(sorted(asked))}"
        raise UnsatisfiableError(message)
    plan = transaction.make_plan(prefix, installed, [item.data for item in installed if item.name not in gone])
    plan.kind, plan.specs = "remove", asked
    _carry_out(args, context, Session(context), plan)
    return 0


def _remove_all(args: argparse.Namespace, context: Context, prefix: Path) -> int:
    if prefix == context.root:
        message = "Cannot remove current environment. Deactivate and run conda remove again"
        raise CondaEnvironmentError(message)
    records.must_exist(prefix, history=True)
    say = output.speaker(json_wanted=args.json)
    say(f"\nRemove all packages in environment {prefix}:\n\n")
    installed = records.installed(prefix)
    plan = transaction.make_plan(prefix, installed, [])
    if args.dry_run:
        if args.json:
            output.as_json(_result(plan, [], context, dry_run=True))
            return 0
        raise DryRunExit
    question = (
        f"Everything found within the environment ({prefix}), including any conda environment configurations and any "
        "non-conda files, will be deleted. Do you wish to continue?\n (y/[n])? "
    )
    if not _confirm(args, context, question, default=False):
        message = "Exiting."
        raise CondaSystemExit(message)
    shutil.rmtree(prefix)
    records.register(context, context.root)
    if args.json:
        output.as_json(_result(plan, [], context, dry_run=False))
    return 0
