"""Downloads, with conda's settings for proxies, certificates, time limits and retries, and conda's errors."""

from __future__ import annotations

import http.client
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from . import __version__
from .errors import CondaHTTPError, PlainError

if TYPE_CHECKING:
    from .context import Context

_RETRY_CODES = {413, 429, 500, 503}
_PIECE = 1 << 18


class Missing(Exception):  # noqa: N818 - it is an answer, not an error
    """The server has no such file (404)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ChunkedEncodingError(OSError):
    """The connection was cut in the middle of a download; named as in the library that conda uses."""


class Session:
    """Downloads for one run of conda.

    Args:
        context: The configuration: proxy_servers, ssl_verify, remote_* and offline.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        handlers: list[urllib.request.BaseHandler] = []
        proxies = context.get("proxy_servers")
        if proxies:
            handlers.append(urllib.request.ProxyHandler({str(key): str(value) for key, value in proxies.items()}))
        verify = context.get("ssl_verify")
        if verify is False:
            trust = ssl._create_unverified_context()  # noqa: SLF001, S323 - the user said so
        elif isinstance(verify, str) and verify != "truststore":
            path = Path(verify)
            trust = ssl.create_default_context(
                cafile=None if path.is_dir() else verify, capath=verify if path.is_dir() else None
            )
        else:
            trust = ssl.create_default_context()
        certificate = context.get("client_ssl_cert")
        if certificate:
            trust.load_cert_chain(certificate, context.get("client_ssl_cert_key"))
        handlers.append(urllib.request.HTTPSHandler(context=trust))
        self._opener = urllib.request.build_opener(*handlers)
        self._opener.addheaders = [("User-Agent", f"conda/{__version__} nbfleet-standin")]

    def download(self, url: str, target: Path, *, shown: str | None = None) -> None:
        """Download a file.

        Args:
            url: http, https or file.
            target: Where it goes; `<target>.partial` exists meanwhile.
            shown: The address that an error names, if another.

        Raises:
            Missing: 404, or no such local file.
            CondaHTTPError: Any other failure to get it.
            PlainError: It cannot be written, or the connection was cut in the middle.
        """
        shown = shown or url
        partial = target.with_name(target.name + ".partial")
        if url.startswith("file://"):
            source = Path(unquote(urlsplit(url).path))
            if not source.is_file():
                raise Missing("UNAVAILABLE OR INVALID")
            try:
                shutil.copyfile(source, partial)
                partial.replace(target)
            except OSError as error:
                raise PlainError(error) from error
            return
        retries = int(self._context.get("remote_max_retries"))
        backoff = float(self._context.get("remote_backoff_factor"))
        started = time.monotonic()
        for left in range(retries, -1, -1):
            try:
                self._once(url, partial)
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    raise Missing(error.reason or "Not Found") from error
                if error.code not in _RETRY_CODES or not left:
                    elapsed = time.strftime("%M:%S", time.gmtime(time.monotonic() - started))
                    fraction = f"{(time.monotonic() - started) % 1:.6f}"[1:]
                    kind = "Server" if error.code >= 500 else "Client"
                    cause = f"HTTPError('{error.code} {kind} Error: {error.reason} for url: {url}')"
                    raise CondaHTTPError(
                        shown, error.code, error.reason, caused_by=cause, elapsed=f"00:{elapsed[3:]}{fraction}"
                    ) from error
            except (http.client.IncompleteRead, http.client.HTTPException) as error:
                raise PlainError(ChunkedEncodingError(f"Connection broken: {error!r}")) from error
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                if not left:
                    reason = getattr(error, "reason", error)
                    raise CondaHTTPError(
                        shown, "000", "CONNECTION FAILED", caused_by=f"ConnectionError({reason!r})"
                    ) from error
                sys.stderr.write(
                    f"WARNING conda.network: Retrying (Retry(total={left - 1}, connect=None, read=None, redirect=None, "
                    f"status=None)) after connection broken by '{getattr(error, 'reason', error)!r}': {url}\n"
                )
            except OSError as error:
                raise PlainError(error) from error
            else:
                partial.replace(target)
                return
            time.sleep(backoff * (0 if left == retries else 2 ** (retries - left)))

    def _once(self, url: str, partial: Path) -> None:
        wait = float(self._context.get("remote_read_timeout_secs"))
        with self._opener.open(url, timeout=wait) as answer, partial.open("wb") as out:
            expected = answer.headers.get("Content-Length")
            got = 0
            while piece := answer.read(_PIECE):
                out.write(piece)
                got += len(piece)
            if expected is not None and got != int(expected):
                raise http.client.IncompleteRead(b"", int(expected) - got)
