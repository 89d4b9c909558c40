"""Channel names and addresses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .context import Context

SUBDIRS = ("linux-64", "noarch")


def _clean(url: str) -> str:
    url = url.rstrip("/")
    for subdir in SUBDIRS:
        url = url.removesuffix(f"/{subdir}")
    return url


def urls(name: str, context: Context) -> list[str]:
    """The addresses that a channel's name stands for.

    Args:
        name: Name, address or folder.
        context: The configuration.

    Returns:
        Addresses without the platform; several for `defaults` and custom multichannels.
    """
    if "://" in name:
        return [_clean(name)]
    if name.startswith(("/", "./", "../", "~")):
        return [_clean(Path(name).expanduser().resolve().as_uri())]
    multi = context.get("custom_multichannels")
    if name in multi:
        return [url for item in multi[name] for url in urls(str(item), context)]
    if name == "defaults":
        return [url for item in context.get("default_channels") for url in urls(str(item), context)]
    custom = context.get("custom_channels")
    if name in custom:
        return [_clean(f"{str(custom[name]).rstrip('/')}/{name}")]
    alias = str(context.get("channel_alias")).rstrip("/")
    if "://" not in alias:
        alias = f"https://{alias}"
    return [_clean(f"{alias}/{name}")]


def all_urls(names: list[str], context: Context) -> list[str]:
    """The addresses of several channels in order, each once."""
    return list(dict.fromkeys(url for name in names for url in urls(name, context)))


def canonical(url: str, context: Context) -> str:
    """The name under which `conda list` shows a channel's address."""
    url = _clean(url)
    alias = str(context.get("channel_alias")).rstrip("/")
    if "://" not in alias:
        alias = f"https://{alias}"
    for base in (alias, "https://conda.anaconda.org", "https://repo.anaconda.com", STANDIN_BASE):
        if url.startswith(f"{base}/"):
            return url.removeprefix(f"{base}/")
    return url


def short(url: str, context: Context) -> str:
    """The name under which a transaction shows a channel: the last part of an unknown address."""
    name = canonical(url, context)
    return name.rstrip("/").rpartition("/")[2] if "://" in name else name


#: Where the installer's own packages come from, on paper: a name that no network resolves.
STANDIN_BASE = "https://standin.invalid"
