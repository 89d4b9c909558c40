"""`conda config`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import output, yamlfile
from .channels import urls
from .context import ALIASES, DEFAULTS, DESCRIPTIONS, typify
from .errors import CondaKeyError

if TYPE_CHECKING:
    import argparse

    from .context import Context

_CHANNEL_LISTS = {"default_channels"}


def _channel_json(url: str) -> dict[str, Any]:
    scheme, _, rest = url.partition("://")
    host, _, name = rest.partition("/")
    return {
        "auth": None, "location": host, "name": name, "package_filename": None, "platform": None, "scheme": scheme,
        "token": None,
    }  # fmt: skip


def _shown(key: str, context: Context, *, as_json: bool) -> Any:
    value = context.get(key)
    if as_json and key == "channel_alias":
        text = str(value)
        return _channel_json((text if "://" in text else f"https://{text}").rstrip("/") + "/")
    if as_json and key in _CHANNEL_LISTS:
        return [_channel_json(url) for item in value for url in urls(str(item), context)]
    return value


def _plain(key: str, value: Any) -> str:
    if isinstance(value, list):
        if not value:
            return f"{key}: []\n"
        return f"{key}:\n" + "".join(f"  - {item}\n" for item in value)
    if isinstance(value, dict):
        if not value:
            return f"{key}: {{}}\n"
        return f"{key}:\n" + "".join(f"  {name}: {item}\n" for name, item in value.items())
    return f"{key}: {value}\n"


def _known(key: str) -> str:
    name = ALIASES.get(key, key)
    if name.partition(".")[0] not in DEFAULTS:
        sys.stderr.write(f"Unknown key: '{key}'\n")
        raise CondaKeyError(key, "unknown parameter")
    return name


def _show(args: argparse.Namespace, context: Context) -> int:
    keys = list(dict.fromkeys(ALIASES.get(key, key) for key in args.show)) or sorted(DEFAULTS)
    unknown = [key for key in keys if key not in DEFAULTS]
    if unknown:
        from .errors import CondaError

        error = CondaError(f"Invalid configuration parameters: - {unknown[0]}" if len(unknown) == 1 else str(unknown))
        error.name = "ArgumentError"
        raise error
    values = {key: _shown(key, context, as_json=args.json) for key in keys}
    if args.json:
        output.as_json(values)
    else:
        output.say("".join(_plain(key, value) for key, value in values.items()))
    return 0


def _show_sources(args: argparse.Namespace, context: Context) -> int:
    if args.json:
        output.as_json({str(source.path): source.values for source in context.sources})
        return 0
    parts = []
    for source in context.sources:
        body = yamlfile.dump({key: source.values[key] for key in sorted(source.values)})
        parts.append(f"==> {source.path} <==\n{body}")
    environment = {key.removeprefix("CONDA_").lower(): value for key, value in os.environ.items()}
    set_here = {key: value for key, value in environment.items() if key in DEFAULTS}
    if set_here:
        parts.append("==> envvars <==\n" + "".join(f"{key}: {value}\n" for key, value in sorted(set_here.items())))
    output.say("\n".join(parts) + ("\n" if parts else ""))
    return 0


def _describe(args: argparse.Namespace, context: Context) -> int:
    keys = [_known(key) for key in args.describe] or sorted(DESCRIPTIONS)
    if args.json:
        output.as_json(
            [{"name": key, "default_value": DEFAULTS[key], "description": DESCRIPTIONS.get(key, "")} for key in keys]
        )
        return 0
    del context
    for key in keys:
        output.say(f"# # {key} ({type(DEFAULTS[key]).__name__})\n# #   {DESCRIPTIONS.get(key, '')}\n# # \n")
        output.say("".join(f"# {line}\n" for line in _plain(key, DEFAULTS[key]).splitlines()) + "\n")
    return 0


def _target(args: argparse.Namespace, context: Context) -> Path:
    if args.system:
        return context.root / ".condarc"
    if args.env and os.environ.get("CONDA_PREFIX"):
        return Path(os.environ["CONDA_PREFIX"]) / ".condarc"
    if args.file:
        return Path(args.file).expanduser()
    return context.home / ".condarc"


class _Change:
    """Changes to one configuration file; nothing is written before all of them were understood."""

    def __init__(self, path: Path, context: Context) -> None:
        self.path = path
        base = context.root / ".condarc"
        if path.exists():
            text = path.read_text()
        elif base.exists():
            # conda starts a new file as a copy of the installation's.
            text = base.read_text()
        else:
            text = ""
        self.values = yamlfile.load_for_change(text)

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.path.write_text(yamlfile.dump(self.values))
        except OSError as error:
            from .errors import CondaError

            message = f"Cannot write to condarc file at {self.path}\nCaused by {error!r}"
            raise CondaError(message) from error

    def _canonical(self, key: str, line: int) -> str:
        name = _known(key)
        if name != key:
            what = f"Key {key} is an alias of {name}; setting value with latter"
            sys.stderr.write(f"WARNING conda.cli.condarc:set_key({line}): {what}\n")
        return name

    def set(self, key: str, text: str) -> None:
        name = self._canonical(key, 521)
        outer, _, inner = name.partition(".")
        default = DEFAULTS[outer]
        if isinstance(default, list) or (isinstance(default, dict) and not inner):
            raise CondaKeyError(outer, "invalid parameter")
        if inner:
            self.values.setdefault(outer, {})[inner] = _scalar(text)
            return
        self.values[outer] = typify(outer, text, "--set parameter")

    def add(self, key: str, item: str, *, first: bool) -> None:
        name = self._canonical(key, 540)
        if not isinstance(DEFAULTS[name], list):
            raise CondaKeyError(name, "invalid parameter")
        present = self.values.get(name)
        items = present if isinstance(present, list) else []
        if item in items:
            where = "top" if first else "bottom"
            sys.stderr.write(f"Warning: '{item}' already in '{name}' list, moving to the {where}\n")
            items.remove(item)
        if not items and name == "channels" and not isinstance(present, list):
            items = ["defaults"] if item != "defaults" else []
        items.insert(0, item) if first else items.append(item)
        self.values[name] = items

    def remove(self, key: str, item: str) -> None:
        name = self._canonical(key, 560)
        items = self.values.get(name)
        if not isinstance(items, list):
            raise CondaKeyError(name, "undefined in config")
        if item not in items:
            raise CondaKeyError(name, f"value {item!r} not present in config")
        items.remove(item)

    def remove_key(self, key: str) -> None:
        outer, _, inner = key.partition(".")
        holder = self.values.get(outer) if inner else self.values
        if not isinstance(holder, dict) or (inner or outer) not in holder:
            raise CondaKeyError(key, "undefined in config")
        del holder[inner or outer]


def _scalar(text: str) -> Any:
    return {"true": True, "false": False}.get(text.lower(), text)


def config(args: argparse.Namespace, context: Context) -> int:
    """`conda config`."""
    if args.show is not None:
        return _show(args, context)
    if args.show_sources:
        return _show_sources(args, context)
    if args.validate:
        _ = context.sources
        return 0
    if args.describe is not None:
        return _describe(args, context)
    path = _target(args, context)
    if args.get is not None:
        values = yamlfile.parse(path.read_text(), path) if path.exists() else {}
        for key in args.get or sorted(values):
            _known(key)
            value = values.get(key)
            if isinstance(value, list):
                for number, item in enumerate(reversed(value)):
                    note = "   # lowest priority" if number == 0 and len(value) > 1 else ""
                    note = "   # highest priority" if number == len(value) - 1 and len(value) > 1 else note
                    output.say(f"--add {key} '{item}'{note}\n")
            elif value is not None:
                output.say(f"--set {key} {value}\n")
        return 0
    change = _Change(path, context)
    for key, item in [*(args.prepend or []), *(args.add or [])]:
        change.add(key, item, first=True)
    for key, item in args.append or []:
        change.add(key, item, first=False)
    for key, text in args.set or []:
        change.set(key, text)
    for key, item in args.remove or []:
        change.remove(key, item)
    for key in args.remove_key or []:
        change.remove_key(key)
    if args.stdin:
        for key, value in yamlfile.parse(sys.stdin.read(), Path("<stdin>")).items():
            change.values[_known(key)] = value
    change.write()
    if args.json:
        output.as_json({"rc_path": str(path), "warnings": [], "get": {}})
    return 0
