"""conda's command line."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from . import BANNER, __version__, output
from .context import Context
from .errors import CondaError, CondaMultiError

if TYPE_CHECKING:
    from collections.abc import Sequence

_USAGE = "usage: conda [-h] [-v] [--no-plugins] [-V] COMMAND ...\n"


class _Parser(argparse.ArgumentParser):
    """Ends with conda's own two lines."""

    def error(self, message: str) -> NoReturn:
        message = message.replace("argument command:", "argument COMMAND:")
        sys.stderr.write(f"{_USAGE}conda: error: {message}\n")
        sys.exit(2)


def _prefix(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-n", "--name", metavar="ENVIRONMENT")
    group.add_argument("-p", "--prefix", metavar="PATH")


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true")
    parser.add_argument("-v", "--verbose", action="count", default=0)
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("--console", default=None)
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--trace", action="store_true")


def _channels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--channel", action="append")
    parser.add_argument("--override-channels", action="store_true")
    parser.add_argument("--use-local", action="store_true")
    parser.add_argument("--repodata-fn", action="append")
    parser.add_argument("--subdir", "--platform", default=None)
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("-k", "--insecure", action="store_true")
    parser.add_argument("-C", "--use-index-cache", action="store_true")


def _changing(parser: argparse.ArgumentParser) -> None:
    _prefix(parser)
    _common(parser)
    _channels(parser)
    parser.add_argument("-d", "--dry-run", action="store_true")
    parser.add_argument("-y", "--yes", action="store_true")
    parser.add_argument("--download-only", action="store_true")
    parser.add_argument("--force-reinstall", "--force", action="store_true")
    parser.add_argument("--override-frozen", action="store_true")
    parser.add_argument("--copy", action="store_true")
    parser.add_argument("--solver", default=None)
    parser.add_argument("--experimental-solver", dest="solver", default=None)
    parser.add_argument("--strict-channel-priority", action="store_true")
    parser.add_argument("--no-channel-priority", action="store_true")
    parser.add_argument("--freeze-installed", "--no-update-deps", action="store_true")
    parser.add_argument("--update-deps", action="store_true")
    parser.add_argument("-S", "--satisfied-skip-solve", action="store_true")
    parser.add_argument("--no-deps", action="store_true")
    parser.add_argument("--only-deps", action="store_true")
    parser.add_argument("--no-pin", action="store_true")
    parser.add_argument("--no-shortcuts", action="store_true")
    parser.add_argument("packages", nargs="*")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(prog="conda", add_help=False, description=BANNER)
    parser.add_argument("-V", "--version", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-v", "--verbose", action="count", default=0)
    parser.add_argument("--no-plugins", action="store_true")
    commands = parser.add_subparsers(dest="command", parser_class=_Parser)

    for name in ("create", "install", "update", "upgrade"):
        one = commands.add_parser(name)
        _changing(one)
        one.add_argument("--file", action="append")
        one.add_argument("--all", "--update-all", action="store_true", dest="all")
    for name in ("remove", "uninstall"):
        one = commands.add_parser(name)
        _changing(one)
        one.add_argument("--all", action="store_true")
        one.set_defaults(file=None)

    one = commands.add_parser("info")
    _common(one)
    one.add_argument("-a", "--all", action="store_true")
    one.add_argument("--base", action="store_true")
    one.add_argument("-e", "--envs", action="store_true")
    one.add_argument("-s", "--system", action="store_true")
    one.add_argument("--offline", action="store_true")

    one = commands.add_parser("list")
    _prefix(one)
    _common(one)
    one.add_argument("-c", "--canonical", action="store_true")
    one.add_argument("-f", "--full-name", action="store_true")
    one.add_argument("--explicit", action="store_true")
    one.add_argument("--md5", action="store_true")
    one.add_argument("--sha256", action="store_true")
    one.add_argument("-e", "--export", action="store_true")
    one.add_argument("-r", "--revisions", action="store_true")
    one.add_argument("--no-pip", action="store_true")
    one.add_argument("--show-channel-urls", action="store_true")
    one.add_argument("regex", nargs="?")

    one = commands.add_parser("config")
    _common(one)
    where = one.add_mutually_exclusive_group()
    where.add_argument("--system", action="store_true")
    where.add_argument("--env", action="store_true")
    where.add_argument("--file")
    one.add_argument("--show", nargs="*")
    one.add_argument("--show-sources", action="store_true")
    one.add_argument("--validate", action="store_true")
    one.add_argument("--describe", nargs="*")
    one.add_argument("--get", nargs="*")
    for option in ("--add", "--append", "--prepend", "--set", "--remove"):
        one.add_argument(option, nargs=2, action="append", metavar=("KEY", "VALUE"))
    one.add_argument("--remove-key", action="append", metavar="KEY")
    one.add_argument("--stdin", action="store_true")
    one.add_argument("-f", "--force", action="store_true")

    one = commands.add_parser("env")
    inner = one.add_subparsers(dest="subcommand", parser_class=_Parser)
    two = inner.add_parser("list")
    _common(two)
    two = inner.add_parser("remove")
    _changing(two)

    one = commands.add_parser("run")
    _prefix(one)
    one.add_argument("-v", "--verbose", action="count", default=0)
    one.add_argument("--dev", action="store_true")
    one.add_argument("--debug-wrapper-scripts", action="store_true")
    one.add_argument("--cwd", default=None)
    one.add_argument("--no-capture-output", "--live-stream", "-s", action="store_true")
    one.add_argument("--json", action="store_true")
    one.add_argument("executable_call", nargs=argparse.REMAINDER)

    one = commands.add_parser("clean")
    _common(one)
    one.add_argument("-y", "--yes", action="store_true")
    one.add_argument("-d", "--dry-run", action="store_true")
    one.add_argument("-a", "--all", action="store_true")
    one.add_argument("-i", "--index-cache", action="store_true")
    one.add_argument("-p", "--packages", action="store_true")
    one.add_argument("-t", "--tarballs", action="store_true")
    one.add_argument("-f", "--force-pkgs-dirs", action="store_true")
    one.add_argument("--tempfiles", action="store_true")

    one = commands.add_parser("search")
    _common(one)
    _channels(one)
    one.add_argument("match_spec", nargs="?")

    for name in ("activate", "deactivate"):
        one = commands.add_parser(name)
        one.add_argument("rest", nargs="*")
        one.add_argument("--stack", action="store_true")
        one.add_argument("--json", action="store_true")
    return parser


def _dispatch(args: argparse.Namespace, context: Context) -> int:
    if args.command in {"activate", "deactivate"}:
        message = f"Run 'conda init' before 'conda {args.command}'"
        raise CondaError(message)
    if args.command == "run":
        from .cmd_run import run

        return run(args, context)
    if args.command == "config":
        from .cmd_config import config

        return config(args, context)
    if args.command == "clean":
        from .cmd_clean import clean

        return clean(args, context)
    if args.command in {"info", "list", "search"} or (args.command == "env" and args.subcommand == "list"):
        from . import cmd_info

        reading = {
            "info": cmd_info.info,
            "list": cmd_info.list_packages,
            "search": cmd_info.search,
            "env": cmd_info.env_list,
        }
        return reading[args.command](args, context)
    from . import cmd_install

    if args.command == "env":
        args.all, args.file = True, None
        return cmd_install.remove(args, context)
    changing = {
        "create": cmd_install.create,
        "install": cmd_install.install,
        "update": cmd_install.update,
        "upgrade": cmd_install.update,
        "remove": cmd_install.remove,
        "uninstall": cmd_install.remove,
    }
    return changing[args.command](args, context)


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if getattr(args, "offline", False):
        values["offline"] = True
    if getattr(args, "insecure", False):
        values["ssl_verify"] = False
    if getattr(args, "download_only", False):
        values["download_only"] = True
    if getattr(args, "strict_channel_priority", False):
        values["channel_priority"] = "strict"
    if getattr(args, "no_channel_priority", False):
        values["channel_priority"] = "disabled"
    return values


def _unexpected(error: Exception, argv: Sequence[str], context: Context, *, json_wanted: bool) -> None:
    """Conda's report of an error that is none of its own."""
    from .cmd_info import facts

    command = f"{context.root}/bin/conda {' '.join(argv)}"
    try:
        info: dict[str, Any] = facts(context)
    except Exception:
        info = {}
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    if json_wanted:
        output.as_json(
            {
                "error": repr(error),
                "exception_name": kind.__name__,
                "exception_type": f"<class '{module}{kind.__name__}'>",
                "command": command,
                "traceback": "".join(traceback.format_exception(error)),
                "conda_info": info,
            }
        )
        return
    trace = "".join(f"    {line}\n" for line in "".join(traceback.format_exception(error)).splitlines())
    sys.stderr.write(f"\n# >>>>>>>>>>>>>>>>>>>>>> ERROR REPORT <<<<<<<<<<<<<<<<<<<<<<\n\n{trace}\n`$ {command}`\n\n")
    sys.stderr.write("".join(f"{key:>23} : {value}\n" for key, value in info.items() if isinstance(value, str)))


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name.

    Returns:
        Exit code.
    """
    if list(argv) in (["--version"], ["-V"]):
        output.say(f"conda {__version__}\n")
        return 0
    context = Context()
    json_wanted = "--json" in argv
    try:
        if argv and argv[0].startswith("shell."):
            from .activation import shell_command

            output.say(shell_command(list(argv), context))
            return 0
        parser = build_parser()
        args = parser.parse_args(argv)
        if args.version:
            output.say(f"conda {__version__}\n")
            return 0
        if args.help or not args.command or (args.command == "env" and not args.subcommand):
            output.say(f"{parser.format_help()}\n")
            return 0 if args.help or not args.command else 2
        args.command_line = [str(context.root / "bin" / "conda"), *argv]
        context.overrides = _overrides(args)
        _ = context.sources
        return _dispatch(args, context)
    except CondaError as error:
        sys.stdout.flush()
        if json_wanted and not (isinstance(error, CondaMultiError) and not error.errors):
            output.as_json(error.as_json())
        else:
            sys.stderr.write(error.as_text().rstrip("\n") + "\n\n")
        return error.return_code
    except (BrokenPipeError, KeyboardInterrupt):
        return 1
    except Exception as error:
        _unexpected(error, argv, context, json_wanted=json_wanted)
        return 1


def run() -> NoReturn:
    """The console entry point."""
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        code = 1
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        pass
    # rattler's threads make the interpreter's own end unsafe (seen as signal 11 after everything was done).
    os._exit(code)
