"""Opens the browser logged in, without the token in any command line."""

from __future__ import annotations

import html
import os
import sys
import time
import webbrowser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from nbfleet.endpoint import Endpoint

LIMIT = 60.0  # seconds after which the page goes, read or not
_READ = 3.0  # seconds that a browser may still need after its first read

_PAGE = """\
<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>{title}</title>
<form method="post" action="{action}">
<input type="hidden" name="token" value="{token}"><input type="hidden" name="password" value="{token}">
<noscript><button>Open {title}</button></noscript></form>
<script>document.forms[0].submit()</script></html>
"""


def available() -> bool:
    """Tell whether a graphical browser can be expected here."""
    if os.environ.get("BROWSER") or sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def write_page(folder: Path, endpoint: Endpoint, local_port: int, token: str) -> Path:
    """Write the private page that posts the token to the server, and return its path."""
    page = folder / f"open-{os.getpid()}-{time.monotonic_ns()}.html"
    text = _PAGE.format(
        title=html.escape(endpoint.name),
        action=html.escape(endpoint.url(local_port) + "login"),
        token=html.escape(token),
    )
    with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    # A read sets the access time only if it is not younger than the last change.
    os.utime(page, (time.time() - 3600, time.time()))
    return page


def open_page(folder: Path, endpoint: Endpoint, local_port: int, token: str) -> Path | None:
    """Open the browser on the account's server.

    Returns:
        The page, for `remove_after_use`; None if no browser could be started.
    """
    page = write_page(folder, endpoint, local_port, token)
    if webbrowser.open(page.as_uri()):
        return page
    page.unlink(missing_ok=True)
    return None


def remove_after_use(page: Path, *, limit: float = LIMIT) -> None:
    """Delete the page a moment after it was first read, at the latest after `limit` seconds."""
    try:
        before = page.stat().st_atime_ns
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline and page.stat().st_atime_ns == before:
            time.sleep(0.1)  # between two looks, up to the deadline
        # Nothing tells that the browser has read to the end.
        time.sleep(min(_READ, max(0.0, deadline - time.monotonic())))
    except FileNotFoundError:
        return
    finally:
        page.unlink(missing_ok=True)
