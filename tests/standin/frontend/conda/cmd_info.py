"""`conda info`, `conda env list`, `conda list`, `conda search`."""

from __future__ import annotations

import datetime
import os
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import BANNER, __version__, channels, output, records
from .errors import CondaValueError, PackageNotInstalledError, PackagesNotFoundInChannelsError

if TYPE_CHECKING:
    import argparse

    from .context import Context


def _details(prefix: Path, context: Context) -> dict[str, Any]:
    history = prefix / "conda-meta" / "history"
    changed = None
    if history.exists():
        changed = datetime.datetime.fromtimestamp(history.stat().st_mtime, datetime.timezone.utc).isoformat()
    return {
        "name": records.env_name(prefix, context),
        "created": None,
        "last_modified": changed,
        "active": os.environ.get("CONDA_PREFIX") == str(prefix),
        "base": prefix == context.root,
        "frozen": (prefix / "conda-meta" / "frozen").exists(),
        "writable": os.access(prefix, os.W_OK),
    }


def _environments(context: Context) -> dict[str, Any]:
    found = records.known_environments(context)
    return {
        "envs": [str(path) for path in found],
        "envs_details": {str(path): _details(path, context) for path in found},
    }


def _environment_table(context: Context) -> str:
    lines = ["", "# conda environments:", "#", "# * -> active", "# + -> frozen"]
    for path in records.known_environments(context):
        details = _details(path, context)
        mark = " *" if details["active"] else " +" if details["frozen"] else ""
        lines.append(f"{details['name']:<22}{mark:<3}{path}")
    return "\n".join(lines) + "\n\n"


def env_list(args: argparse.Namespace, context: Context) -> int:
    """`conda env list`."""
    if args.json:
        output.as_json(_environments(context))
    else:
        output.say(_environment_table(context))
    return 0


def facts(context: Context) -> dict[str, Any]:
    """What `conda info --json` says."""
    active = os.environ.get("CONDA_PREFIX")
    libc = platform.libc_ver()
    user_rc = str(context.home / ".condarc")
    names = context.get("channels")
    info: dict[str, Any] = {
        "platform": "linux-64",
        "conda_version": __version__,
        "conda_env_version": __version__,
        "conda_build_version": "not installed",
        "root_prefix": str(context.root),
        "conda_prefix": str(context.root),
        "av_data_dir": str(context.root / "etc" / "conda"),
        "av_metadata_url_base": None,
        "root_writable": os.access(context.root, os.W_OK),
        "pkgs_dirs": [str(path) for path in context.pkgs_dirs],
        "envs_dirs": [str(path) for path in context.envs_dirs],
        "default_prefix": active or str(context.root),
        "active_prefix": active,
        "active_prefix_name": os.environ.get("CONDA_DEFAULT_ENV"),
        "conda_shlvl": int(os.environ.get("CONDA_SHLVL") or -1),
        "channels": [f"{url}/{subdir}" for url in channels.all_urls(names, context) for subdir in channels.SUBDIRS],
        "user_rc_path": user_rc,
        "rc_path": user_rc,
        "sys_rc_path": str(context.root / ".condarc"),
        "offline": bool(context.get("offline")),
        "python_version": f"{platform.python_version()}.final.0",
        "requests_version": "not installed",
        "user_agent": f"conda/{__version__} nbfleet-standin CPython/{platform.python_version()} "
        f"Linux/{platform.release()} {libc[0]}/{libc[1]} solver/rattler",
        "conda_location": str(Path(__file__).parent),
        "config_files": [str(source.path) for source in context.sources],
        "netrc_file": None,
        "virtual_pkgs": [
            ["__archspec", "1", platform.machine()],
            ["__conda", __version__, "0"],
            ["__glibc", libc[1], "0"],
            ["__linux", platform.release().split("-")[0], "0"],
            ["__unix", "0", "0"],
        ],
        "solver": {"name": str(context.get("solver")), "default": True},
        "UID": os.geteuid(),
        "GID": os.getegid(),
        "sys.version": sys.version,
        "sys.prefix": sys.prefix,
        "sys.executable": sys.executable,
        "site_dirs": [],
        "env_vars": {
            key: os.environ.get(key, "<not set>")
            for key in ("CIO_TEST", "CURL_CA_BUNDLE", "LD_PRELOAD", "PATH", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
        }
        | {"CONDA_ROOT": str(context.root)},
        "distribution": BANNER,
        "standin": True,
    }
    return info | _environments(context)


def info(args: argparse.Namespace, context: Context) -> int:
    """`conda info`."""
    if args.base:
        if args.json:
            output.as_json({"root_prefix": str(context.root)})
        else:
            output.say(f"{context.root}\n")
        return 0
    if args.envs:
        return env_list(args, context)
    data = facts(context)
    if args.json:
        output.as_json(data)
        return 0
    rows = [
        ("distribution", BANNER),
        ("active environment", data["active_prefix_name"] or "None"),
        ("user config file", data["user_rc_path"]),
        ("populated config files", "\n".join(data["config_files"])),
        ("conda version", __version__),
        ("conda-build version", "not installed"),
        ("python version", data["python_version"]),
        ("solver", f"{data['solver']['name']} (default)"),
        ("virtual packages", "\n".join("=".join(item) for item in data["virtual_pkgs"])),
        ("base environment", f"{context.root}  ({'writable' if data['root_writable'] else 'read only'})"),
        ("channel URLs", "\n".join(data["channels"])),
        ("package cache", "\n".join(data["pkgs_dirs"])),
        ("envs directories", "\n".join(data["envs_dirs"])),
        ("platform", "linux-64"),
        ("user-agent", data["user_agent"]),
        ("UID:GID", f"{data['UID']}:{data['GID']}"),
        ("offline mode", str(data["offline"])),
    ]
    output.say("\n")
    for title, text in rows:
        first, *rest = text.split("\n")
        output.say(f"{title:>23} : {first}\n" + "".join(f"{'':>26}{line}\n" for line in rest))
    output.say("\n")
    return 0


def list_packages(args: argparse.Namespace, context: Context) -> int:
    """`conda list`."""
    prefix = records.locate(context, args.name, args.prefix)
    records.must_exist(prefix, history=False)
    conda = records.installed(prefix)
    if args.explicit or args.md5 or args.sha256:
        return _explicit(args, conda)
    items = conda if args.no_pip else sorted(conda + records.pip_installed(prefix, conda), key=lambda item: item.name)
    if args.regex:
        pattern = re.compile(f"^{re.escape(args.regex)}$" if args.full_name else args.regex, re.IGNORECASE)
        items = [item for item in items if pattern.search(item.name)]
        if not items and args.full_name:
            raise PackageNotInstalledError(prefix, args.regex)
        if not items:
            message = f"No packages match '{args.regex}'."
            raise CondaValueError(message)
    if args.json:
        output.as_json([records.as_json(item, context) for item in items])
        return 0
    if args.export:
        output.say(_header())
        output.say("".join(f"{item.name}={item.version}={item.build}\n" for item in items))
        return 0
    rows = []
    for item in items:
        channel = channels.canonical(item.base_url, context)
        rows.append((item.name, item.version, item.build, "" if channel.startswith("pkgs/") else channel))
    output.say(f"# packages in environment at {prefix}:\n#\n")
    output.say(output.package_table(rows))
    return 0


def _header() -> str:
    return (
        "# This file may be used to create an environment using:\n"
        "# $ conda create --name <env> --file <this file>\n"
        f"# platform: linux-64\n# created-by: conda {__version__}\n"
    )


def _explicit(args: argparse.Namespace, conda: list[records.Installed]) -> int:
    output.say(_header() + "@EXPLICIT\n")
    # Linked before what needs it: python's libraries first, and always the same order.
    order = sorted(conda, key=lambda item: (str(item.data.get("subdir", "")) == "noarch", item.name))
    for item in order:
        digest = item.data.get("sha256") if args.sha256 else item.data.get("md5") if args.md5 else None
        output.say(f"{item.data['url']}{'#' + str(digest) if digest else ''}\n")
    return 0


def search(args: argparse.Namespace, context: Context) -> int:
    """`conda search`."""
    from . import repodata
    from .cmd_install import channel_urls
    from .network import Session

    urls = channel_urls(args, context)
    say = output.speaker(json_wanted=args.json)
    say("Loading channels: ...working... ")
    found = repodata.all_records(repodata.fetch(urls, context, Session(context)))
    say("done\n")
    wanted = args.match_spec or "*"
    name = re.split(r"[\s=<>!~]", wanted, maxsplit=1)[0]
    pattern = re.compile(re.escape(name).replace(r"\*", ".*"), re.IGNORECASE)
    items = [item for item in found if pattern.fullmatch(str(item["name"]))]
    items.sort(
        key=lambda item: (
            str(item["name"]),
            [int(part) if part.isdigit() else 0 for part in re.split(r"[.]", str(item["version"]))],
        )
    )
    if not items:
        say(f"No match found for: {wanted}. Search: *{wanted}*\n")
        raise PackagesNotFoundInChannelsError(
            [wanted], [f"{url}/{subdir}" for url in urls for subdir in channels.SUBDIRS]
        )
    if args.json:
        table: dict[str, list[dict[str, Any]]] = {}
        for item in items:
            table.setdefault(str(item["name"]), []).append(item)
        output.as_json(table)
        return 0
    output.say(f"{'# Name':<25} {'Version':>15}  {'Build':>20}  Channel\n")
    for item in items:
        place = channels.canonical(records.channel_of(str(item["url"])), context)
        output.say(f"{item['name']:<25} {item['version']:>15}  {item['build']:>20}  {place}\n")
    return 0
