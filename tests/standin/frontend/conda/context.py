"""conda's configuration: which files are read, how they are merged, and what the keys are."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CustomValidationError

#: The version of the Python of this distribution, which is the only one of its channel.
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"

#: Every key with its default. The type of the default is the type of the key; see `KINDS` for the exceptions.
DEFAULTS: dict[str, Any] = {
    "add_anaconda_token": True,
    "add_pip_as_python_dependency": True,
    "aggressive_update_packages": ["ca-certificates", "certifi", "openssl"],
    "allow_softlinks": False,
    "allowlist_channels": [],
    "always_copy": False,
    "always_yes": None,
    "auto_activate": True,
    "auto_stack": 0,
    "auto_update_conda": True,
    "changeps1": True,
    "channel_alias": "https://conda.anaconda.org",
    "channel_priority": "flexible",
    "channel_settings": [],
    "channels": [],
    "client_ssl_cert": None,
    "client_ssl_cert_key": None,
    "console": "classic",
    "create_default_packages": [],
    "custom_channels": {},
    "custom_multichannels": {},
    "default_activation_env": "base",
    "default_channels": ["https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r"],
    "default_python": PYTHON,
    "default_threads": None,
    "denylist_channels": [],
    "disallowed_packages": [],
    "download_only": False,
    "env_prompt": "({default_env}) ",
    "envs_dirs": [],
    "execute_threads": 1,
    "extra_safety_checks": False,
    "fetch_threads": 5,
    "local_repodata_ttl": 1,
    "no_lock": False,
    "notify_outdated_conda": True,
    "number_channel_notices": 5,
    "offline": False,
    "override_channels_enabled": True,
    "pinned_packages": [],
    "pkgs_dirs": [],
    "plugins": {},
    "prefix_data_interoperability": False,
    "protect_frozen_envs": True,
    "proxy_servers": {},
    "quiet": False,
    "register_envs": True,
    "remote_backoff_factor": 1,
    "remote_connect_timeout_secs": 9.15,
    "remote_max_retries": 3,
    "remote_read_timeout_secs": 60.0,
    "repodata_threads": None,
    "repodata_use_shards": True,
    "repodata_use_zst": True,
    "report_errors": None,
    "rollback_enabled": True,
    "safety_checks": "warn",
    "shortcuts": True,
    "show_channel_urls": None,
    "solver": "rattler",
    "ssl_verify": True,
    "subdir": "linux-64",
    "track_features": [],
    "unsatisfiable_hints": True,
    "update_modifier": "update_specs",
    "use_index_cache": False,
    "verify_threads": 1,
}

#: Keys whose default does not show their type.
KINDS: dict[str, type] = {
    "always_yes": bool,
    "client_ssl_cert": str,
    "client_ssl_cert_key": str,
    "default_threads": int,
    "repodata_threads": int,
    "report_errors": bool,
    "show_channel_urls": bool,
}

CHOICES = {
    "channel_priority": ("ChannelPriority", ("strict", "flexible", "disabled")),
    "safety_checks": ("SafetyChecks", ("disabled", "warn", "enabled")),
}

#: Former names, still understood.
ALIASES = {
    "auto_activate_base": "auto_activate",
    "channel": "channels",
    "pip_interop_enabled": "prefix_data_interoperability",
    "env_dirs": "envs_dirs",
    "verify_ssl": "ssl_verify",
    "yes": "always_yes",
    "whitelist_channels": "allowlist_channels",
}

#: What `conda config --describe` says, in our own words.
DESCRIPTIONS = {
    "auto_activate": "Whether a shell that sources conda.sh by `conda init` activates an environment when it starts.",
    "channel_alias": "The address in front of channels that are given by name.",
    "channel_priority": "How strictly the order of channels decides: strict, flexible or disabled.",
    "channels": "The channels to look into, best first.",
    "default_channels": "What the channel name `defaults` stands for.",
    "default_threads": "Number of threads where nothing else says so.",
    "envs_dirs": "Folders for environments that are given by name.",
    "offline": "Whether the network is left alone.",
    "pkgs_dirs": "Package caches; the first one that can be written takes downloads.",
    "proxy_servers": "Proxies by scheme (http, https) or by scheme and host.",
    "solver": "Name of the solver.",
    "ssl_verify": "true, false, or the path of a file or folder of certificates.",
}

_TRUE = {"true", "yes", "on", "y", "1"}
_FALSE = {"false", "no", "off", "n", "0"}
_NONE = {"none", "null", "~", ""}


def kind_of(key: str) -> type:
    """The type of a key's values."""
    return KINDS.get(key) or type(DEFAULTS[key])


@dataclass(frozen=True)
class Source:
    """One configuration file that was found.

    Attributes:
        path: The file.
        values: Its top level, as parsed.
        text: Its bytes as text, for the flags that stand in comments.
    """

    path: Path
    values: dict[str, Any]
    text: str

    def is_final(self, key: str) -> bool:
        """Whether no more specific file may add to this key."""
        return re.search(rf"(?m)^{re.escape(key)}\s*:.*#!final", self.text) is not None

    def flagged(self, value: object) -> str:
        """`top` or `bottom` if a list's item carries that flag, else nothing."""
        found = re.search(rf"(?m)^\s*-\s*['\"]?{re.escape(str(value))}['\"]?\s+#!(top|bottom)", self.text)
        return found.group(1) if found else ""


def typify(key: str, value: Any, source: str) -> Any:
    """Turn a value from the command line, the environment or a file into the key's type.

    Args:
        key: A known key.
        value: Text or an already parsed value.
        source: Where it comes from, for the message.

    Returns:
        The value.

    Raises:
        CustomValidationError: It does not fit.
    """
    if key in CHOICES and str(value).lower() not in CHOICES[key][1]:
        kind, choices = CHOICES[key]
        listed = ", ".join(f"'{choice}'" for choice in choices)
        message = (
            f"Parameter {key} = {value!r} declared in {source} is invalid.\n"
            f"{value!r} is not a valid {kind}\nValid choices for {key}: {listed}"
        )
        raise CustomValidationError(message, parameter_name=key, parameter_value=value, source=source)
    if not isinstance(value, str):
        return value
    kind_wanted = kind_of(key)
    text = value.strip().lower()
    if text in _NONE and DEFAULTS[key] is None:
        return None
    if key == "ssl_verify":
        return True if text in _TRUE else False if text in _FALSE else value
    if kind_wanted is bool:
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
    elif kind_wanted is int or kind_wanted is float:
        try:
            return kind_wanted(text)
        except ValueError:
            pass
    else:
        return value
    message = (
        f"Parameter {key} = {value!r} declared in {source} has type str.\nValid types:\n  - {kind_wanted.__name__}"
    )
    raise CustomValidationError(message, parameter_name=key, parameter_value=value, source=source)


class Context:
    """What conda knows about its installation and its configuration.

    Args:
        root: The base prefix; by default the one of the running interpreter.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(sys.prefix)
        self.home = Path(os.environ.get("HOME") or "~").expanduser()
        self.overrides: dict[str, Any] = {}
        self.target: Path | None = None
        self._sources: list[Source] | None = None

    def candidates(self) -> list[Path]:
        """The configuration files in the order in which later ones win."""
        folders = [Path("/etc/conda"), Path("/var/lib/conda")]
        files: list[Path] = []

        def within(folder: Path) -> None:
            files.extend([folder / ".condarc", folder / "condarc"])
            more = folder / "condarc.d"
            if more.is_dir():
                files.extend(sorted(path for path in more.iterdir() if path.suffix in {".yml", ".yaml"}))

        for folder in folders:
            within(folder)
        within(self.root)
        xdg = os.environ.get("XDG_CONFIG_HOME")
        if xdg:
            within(Path(xdg) / "conda")
        within(self.home / ".config" / "conda")
        within(self.home / ".conda")
        files.append(self.home / ".condarc")
        active = self.target or (Path(os.environ["CONDA_PREFIX"]) if os.environ.get("CONDA_PREFIX") else None)
        if active and active != self.root:
            within(active)
        extra = os.environ.get("CONDARC")
        if extra and (Path(extra).name in {".condarc", "condarc"} or Path(extra).suffix in {".yml", ".yaml"}):
            files.append(Path(extra))
        return list(dict.fromkeys(files))

    @property
    def sources(self) -> list[Source]:
        """The files that exist, parsed; a file that cannot be read or parsed raises as it does in conda."""
        if self._sources is None:
            from .yamlfile import parse

            found = []
            for path in self.candidates():
                if not path.is_file():
                    continue
                text = path.read_text()
                values = parse(text, path)
                found.append(Source(path, values, text))
            self._sources = found
        return self._sources

    def _environment(self) -> dict[str, Any]:
        values = {}
        for key in DEFAULTS:
            text = os.environ.get(f"CONDA_{key.upper()}")
            if text is None:
                continue
            if isinstance(DEFAULTS[key], list):
                values[key] = [part.strip() for part in text.split(",") if part.strip()]
            elif not isinstance(DEFAULTS[key], dict):
                values[key] = typify(key, text, "env var")
        return values

    def get(self, key: str) -> Any:
        """The merged value of a key."""
        default = DEFAULTS[key]
        layers: list[tuple[Any, Source | None]] = []
        for source in self.sources:
            for name, value in source.values.items():
                if ALIASES.get(name, name) == key and value is not None:
                    layers.append((value, source))
            if source.is_final(key):
                break
        environment = self._environment().get(key)
        if environment is not None:
            layers.append((environment, None))
        if key in self.overrides:
            layers.append((self.overrides[key], None))
        if isinstance(default, list):
            return self._merged_list(key, layers)
        if isinstance(default, dict):
            merged: dict[str, Any] = {}
            for value, _ in layers:
                if isinstance(value, dict):
                    merged.update(value)
            return merged
        if not layers:
            return default
        return self._checked(key, layers[-1][0])

    def _merged_list(self, key: str, layers: list[tuple[Any, Source | None]]) -> list[Any]:
        top: list[Any] = []
        middle: list[Any] = []
        bottom: list[Any] = []
        for value, source in reversed(layers):
            if not isinstance(value, (list, tuple)):
                continue
            for item in value:
                place = source.flagged(item) if source else ""
                {"top": top, "bottom": bottom}.get(place, middle).append(item)
        merged = list(dict.fromkeys(str(item) if key != "channel_settings" else item for item in top + middle + bottom))
        if merged:
            return merged
        return self._list_default(key)

    def _list_default(self, key: str) -> list[Any]:
        if key == "channels":
            return ["defaults"]
        if key in {"pkgs_dirs", "envs_dirs"}:
            folder = key.removesuffix("_dirs")
            both = [self.root / folder, self.home / ".conda" / folder]
            if key == "envs_dirs" and not os.access(self.root, os.W_OK):
                both.reverse()
            return [str(path) for path in both]
        return list(DEFAULTS[key])

    def _checked(self, key: str, value: Any) -> Any:
        value = typify(key, value, "<<merged>>")
        if key == "ssl_verify" and isinstance(value, str) and value != "truststore" and not Path(value).exists():
            message = (
                f"Parameter ssl_verify = {value!r} declared in <<merged>> is invalid.\n"
                f"ssl_verify value {value!r} must be a boolean, a path to a certificate bundle file, a path to a "
                "directory containing certificates of trusted CAs, or 'truststore' to use the operating system "
                "certificate store."
            )
            raise CustomValidationError(message, parameter_name=key, parameter_value=value, source="<<merged>>")
        return value

    @property
    def pkgs_dirs(self) -> list[Path]:
        """The package caches."""
        return [Path(os.path.expandvars(item)).expanduser() for item in self.get("pkgs_dirs")]

    @property
    def envs_dirs(self) -> list[Path]:
        """The folders of named environments."""
        return [Path(os.path.expandvars(item)).expanduser() for item in self.get("envs_dirs")]

    def writable_pkgs_dir(self) -> Path:
        """The package cache that takes downloads; made if it is not there."""
        for folder in self.pkgs_dirs:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError:
                continue
            if os.access(folder, os.W_OK):
                return folder
        from .errors import CondaError

        message = "No writeable pkgs directories configured.\n" + "".join(f"  - {path}\n" for path in self.pkgs_dirs)
        error = CondaError(message)
        error.name = "NoWritablePkgsDirError"
        raise error
