# SPDX-License-Identifier: Apache-2.0
"""Downloads into the package cache: several at a time, each checked before anything is done with it."""

from __future__ import annotations

import concurrent.futures
import hashlib
import http.client
import os
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .conda_cache import HandOver
from .conda_run import explain, read_answer, run_conda
from .conda_specs import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .conda_locks import Package

THREADS = 8
TRIES = 3
SILENCE = 30  # seconds that a server may say nothing
_PASSING = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError)


class Reach(NamedTuple):
    """How conda is configured to reach channels."""

    proxies: dict[str, str]
    ssl_verify: bool | str
    certificate: str
    key: str


def ask_reach(base: Path, *, lock: int, seconds: float) -> Reach:
    """Ask conda itself, since its configuration has many sources.

    Raises:
        HandOver: It does not say, or may not use the network.
    """
    keys = ("proxy_servers", "ssl_verify", "client_ssl_cert", "client_ssl_cert_key", "offline")
    command = [str(base / "bin" / "conda"), "config", "--json", "--show", *keys]
    status, stdout, _ = run_conda(command, lock=lock, seconds=min(seconds, 120))
    said = read_answer(stdout)
    if status or "ssl_verify" not in said:
        raise HandOver("conda does not tell its configuration")
    if said.get("offline"):
        raise HandOver("conda is configured to stay offline")
    proxies = {str(scheme): str(url) for scheme, url in (said.get("proxy_servers") or {}).items()}
    return Reach(proxies, said["ssl_verify"], said.get("client_ssl_cert") or "", said.get("client_ssl_cert_key") or "")


def _trust(reach: Reach, base: Path) -> ssl.SSLContext:
    bundle = reach.ssl_verify
    if bundle is True:
        # As requests does for conda; a machine without certificates of its own is no reason to fail.
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or str(base / "ssl" / "cacert.pem")
        bundle = bundle if Path(bundle).exists() else "truststore"
    if isinstance(bundle, str) and bundle != "truststore":
        folder = bundle if Path(bundle).is_dir() else None
        context = ssl.create_default_context(cafile=None if folder else bundle, capath=folder)
    else:
        context = ssl.create_default_context()
    if bundle is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if reach.certificate:
        context.load_cert_chain(reach.certificate, reach.key or None)
    return context


def proxies_for(url: str, configured: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the proxies for an address: the most special of conda's, over those of the surroundings; "" is none."""
    parts = urllib.parse.urlsplit(url)
    ranked = (f"{parts.scheme}://{parts.hostname}", parts.scheme, f"all://{parts.hostname}", "all")
    chosen = next((configured[key] for key in ranked if key in configured), None)
    proxies = environ if chosen is None else {**environ, parts.scheme: chosen}
    return {scheme: proxy for scheme, proxy in proxies.items() if proxy}


class Fetcher:
    """Gets packages into the cache, several at a time; the first failure ends all of them.

    Args:
        base: The prefix, for its certificates.
        cache: Where archives go.
        reach: How channels are reached; None: not at all, so that archives have to be there.
        seconds: How long all of it may take.
        asker: Who asks, as a sentence names it.
    """

    def __init__(self, base: Path, cache: Path, reach: Reach | None, seconds: float, asker: str = "conda") -> None:
        self.cache = cache
        self._reach = reach or Reach({}, True, "", "")
        self._allowed = reach is not None
        self._asker = asker
        try:
            self._trust = _trust(self._reach, base)
        except OSError as error:
            raise HandOver(f"the certificates that conda is configured to use cannot be read ({error})") from None
        self._deadline = time.monotonic() + seconds
        self._ended = threading.Event()

    def fetch(self, packages: Sequence[Package]) -> list[dict[str, Any]]:
        """Return what is known of each package's checked archive.

        Raises:
            HandOver: A channel wants credentials, which only conda may know.
            Refusal: A package cannot be had.
        """
        self.cache.mkdir(parents=True, exist_ok=True)
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            waiting = [pool.submit(self._one, package) for package in packages]
            try:
                for done in concurrent.futures.as_completed(waiting):
                    done.result()
            except (HandOver, Refusal):
                self._ended.set()
                pool.shutdown(cancel_futures=True)
                raise
        return [done.result() for done in waiting]

    def _one(self, package: Package) -> dict[str, Any]:
        archive = self.cache / package.file
        if archive.is_file():
            with archive.open("rb") as file:
                sums = self._read(package, file, None)
            if sums[package.kind] == package.digest:
                return sums
        if not self._allowed:
            raise Refusal(f"the package {package.file} did not come as its hash says; run again")
        part = archive.with_name(f"{archive.name}.nbfleet-part")
        try:
            sums = self._download(package, part)
            if sums[package.kind] != package.digest:
                raise Refusal(explain({"exception_name": "ChecksumMismatchError", "url": package.url}, "", 1, []))
            part.replace(archive)
        except OSError as error:
            raise Refusal(explain({"error": str(error)}, str(error), 1, [])) from None
        finally:
            part.unlink(missing_ok=True)
        return sums

    def _download(self, package: Package, part: Path) -> dict[str, Any]:
        proxies = proxies_for(package.url, self._reach.proxies, urllib.request.getproxies())
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=self._trust)
        )
        code: int | str = "000"
        for attempt in range(TRIES):
            try:
                with opener.open(package.url, timeout=SILENCE) as answer, part.open("wb") as file:
                    return self._read(package, answer, file)
            except urllib.error.HTTPError as error:
                code = error.code
                if code in (401, 403, 407):
                    raise HandOver(f"{package.url} wants credentials (HTTP {code}), which conda may know") from None
                if code < 500 and code not in (408, 429):
                    break
            except _PASSING as error:
                reason = getattr(error, "reason", error)
                if isinstance(reason, ssl.SSLCertVerificationError):
                    raise Refusal(
                        f"the certificate of {package.url} is not trusted ({reason.verify_message}); "
                        "set ssl_verify in conda's configuration to the certificates of your network"
                    ) from None
                code = "000"
            if self._ended.wait(attempt + 0.5) or time.monotonic() > self._deadline:
                break
        failed = {"exception_name": "CondaHTTPError", "url": package.url, "status_code": code, "asker": self._asker}
        raise Refusal(explain(failed, "", 1, []))

    def _read(self, package: Package, source: Any, target: Any) -> dict[str, Any]:  # noqa: ANN401 - both are files
        sums, size = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}, 0
        while piece := source.read(1 << 18):
            for one in sums.values():
                one.update(piece)
            size += len(piece)
            if target:
                target.write(piece)
            if time.monotonic() > self._deadline or self._ended.is_set():
                raise Refusal(
                    f"the package {package.url} did not arrive in time; allow more time or use a nearer mirror"
                )
        length = (getattr(source, "headers", None) or {}).get("Content-Length")
        if length and int(length) != size:
            raise ConnectionError(f"{size} of {length} bytes arrived")
        found = {name: one.hexdigest() for name, one in sums.items()}
        return {"stem": package.stem, "fn": package.file, "url": package.url, "size": size, **found}
