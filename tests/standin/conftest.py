"""The built stand-in, installed once, its channel served over http with every fault that a network can have."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

#: PATH of every command that is tested.
PATH = "/usr/bin:/bin"


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.out)


def execute(
    *argv: str | Path,
    home: Path,
    given: str = "",
    cwd: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> Done:
    """Run a command with an environment of nothing but HOME, PATH and what is given; without input by default."""
    done = subprocess.run(
        [str(item) for item in argv],
        env={"HOME": str(home), "PATH": PATH} | dict(variables or {}),
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Conda:
    """An installation of the stand-in."""

    prefix: Path
    home: Path
    url: str
    environ: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str | Path, given: str = "", **environ: str) -> Done:
        """Run conda."""
        program = self.prefix / "bin" / "conda"
        return execute(program, *arguments, home=self.home, given=given, variables=self.environ | environ)

    def create(self, prefix: Path, *specs: str) -> Path:
        """Make an environment."""
        done = self("create", "-y", "-p", prefix, "--json", "--override-channels", "-c", "conda-forge", *specs)
        assert done.code == 0, done
        return prefix

    def names(self, prefix: Path) -> dict[str, str]:
        """Installed packages: name -> version."""
        return {item["name"]: item["version"] for item in self("list", "-p", prefix, "--json").json}


class _Channel(http.server.SimpleHTTPRequestHandler):
    """Serves the distribution; the first folder of a path names a fault: e403, e503, html, cut, bad, slow."""

    protocol_version = "HTTP/1.1"
    faults = ("e401", "e403", "e503", "html", "cut", "bad")

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        fault, _, rest = path.lstrip("/").partition("/")
        if fault not in self.faults:
            super().do_GET()
            return
        if fault.startswith("e"):
            self.send_error(int(fault[1:]))
            return
        if fault == "html":
            self._answer(b"<html><body>Please log in</body></html>")
            return
        data = (Path(self.directory) / rest).read_bytes() if (Path(self.directory) / rest).is_file() else None
        if data is None:
            self.send_error(404, "File not found")
        elif not rest.endswith(".conda"):
            self._answer(data)
        elif fault == "bad":
            self._answer(data[:100] + bytes([data[100] ^ 0xFF]) + data[101:])
        else:
            self._answer(data, cut=True)

    def _answer(self, data: bytes, *, cut: bool = False) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def distribution() -> dict[str, str]:
    """The builder's answer."""
    done = subprocess.run(
        [sys.executable, str(HERE / "build.py"), "--cache", str(ROOT / ".cache" / "standin")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="session")
def installer(distribution: dict[str, str]) -> Path:
    """The installer's file."""
    return Path(distribution["root"]) / "miniconda" / distribution["installer"]


@pytest.fixture(scope="session")
def channel(distribution: dict[str, str]) -> Iterator[str]:
    """Address of the web server in front of the distribution."""

    def handler(*arguments: Any) -> _Channel:
        return _Channel(*arguments, directory=distribution["root"])

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="session")
def installed(installer: Path, channel: str, tmp_path_factory: pytest.TempPathFactory) -> Conda:
    """One installation for all tests; they make environments beside it, its cache is shared."""
    home = tmp_path_factory.mktemp("home")
    prefix = home / "miniconda3"
    done = execute("/bin/sh", installer, "-b", "-p", prefix, home=home)
    assert done.code == 0, done
    (prefix / ".condarc").write_text(f"channels: [conda-forge]\nchannel_alias: {channel}\n")
    return Conda(prefix, home, channel)


@pytest.fixture
def conda(installed: Conda, tmp_path: Path) -> Conda:
    """The installation, seen from a home folder of the test's own."""
    home = tmp_path / "home"
    home.mkdir()
    return Conda(installed.prefix, home, installed.url, {"CONDA_REMOTE_BACKOFF_FACTOR": "0"})


@pytest.fixture
def bare(conda: Conda, tmp_path: Path) -> Path:
    """An environment of one library, quick to make."""
    return conda.create(tmp_path / "bare", "libzlib")


@pytest.fixture
def env(conda: Conda, tmp_path: Path) -> Path:
    """A small environment: Python and what it needs."""
    return conda.create(tmp_path / "env", "python")


def is_root() -> bool:
    """Whether permissions mean nothing here."""
    return os.geteuid() == 0
