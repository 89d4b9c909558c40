"""What tests do with one account by the driver: provision it, ask how it is, open it."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machines import Lab


class JupyterLock:
    """The lock of the environment that every account of the lab has."""

    def __init__(self, lab: Lab) -> None:
        (self.file,) = (
            file
            for file in (lab.directory / "locks").glob("*.txt")
            if "# spec: jupyter\n" in file.read_text() and file.read_text().count("# spec: ") == 5
        )
        self.whole = self.file.read_text()

    def without(self, *packages: str) -> None:
        """Make it one that lacks packages."""
        lines = self.whole.splitlines(keepends=True)
        left = [line for line in lines if not any(f"/{name}-" in line for name in packages)]
        assert len(left) == len(lines) - len(packages)
        self.file.write_text("".join(left))

    def restore(self) -> None:
        """Make it what it was."""
        self.file.write_text(self.whole)


def up(lab: Lab, account: str, *words: str) -> Lab:
    """Provision an account by the driver; the words may be further accounts."""
    done = lab.nbfleet("up", "-i", str(lab.inventory), account, *words, "--json")
    assert done.code == 0, done.out + done.err
    return lab


def remove(lab: Lab, account: str) -> None:
    """Take back what was made on an account."""
    done = lab.nbfleet("remove", "-i", str(lab.inventory), account, "--yes", "--json")
    assert done.code == 0, done.out + done.err


def told(lab: Lab, account: str) -> dict[str, Any]:
    """Return what `status` says of an account."""
    done = lab.nbfleet("status", account, "--json")
    assert done.code == 0, done.out + done.err
    (found,) = done.answer["data"]["accounts"]
    assert isinstance(found, dict)
    return found


def open_and_see(lab: Lab, account: str) -> None:
    """Open the forward, come in with the token, and run a kernel over its private sockets."""
    done = lab.nbfleet("connect", account, "--background", "--no-browser", "--json")
    assert done.code == 0, done.out + done.err
    url, _, token = str(done.answer["data"]["url"]).partition("?token=")
    base = url.removesuffix("tree").removesuffix("lab")
    asked = urllib.request.Request(f"{base}api/kernels", data=b"{}", method="POST")  # noqa: S310
    asked.add_header("Authorization", f"token {token}")
    with urllib.request.urlopen(asked, timeout=60) as reply:  # noqa: S310
        assert json.load(reply)["name"] == "python3"
    assert token not in lab.nbfleet("logs", account, "-n", "500").out


def kernel_variables(lab: Lab, account: str) -> dict[str, str]:
    """Start a kernel of an account whose Jupyter listens on its socket, and return the variables that it got."""
    paths = "cat .config/nbfleet/token; echo; ls /run/user/$(id -u)/nbfleet/jupyter.sock"
    token, socket = lab.said(account, paths).split()
    ask = f"curl -s --unix-socket {socket} -H 'Authorization: token {token}'"
    answer = lab.said(account, f"{ask} -X POST http://localhost/{account}/api/kernels; echo")
    kernel = json.loads(answer.splitlines()[0])["id"]
    # In brackets, so that pgrep does not find the shell that calls it.
    process = f"$(pgrep -u $(id -u) -nf 'kernel-[{kernel[0]}]{kernel[1:]}')"
    lines = lab.said(account, f"tr '\\0' '\\n' </proc/{process}/environ").splitlines()
    return dict(line.partition("=")[::2] for line in lines)


def only_for(lab: Lab, machine: str, owner: str, stranger: str, script: str) -> None:
    """See that a script fails for one user, and that this is no fault of the script: for another one it works."""
    tried = lab.as_user(machine, stranger, script)
    assert tried.code != 0, tried.out
    works = lab.as_user(machine, owner, script)
    assert works.code == 0, works.out + works.err


@contextlib.contextmanager
def opened_home(lab: Lab, machine: str, user: str) -> Iterator[None]:
    """Let everybody look into a home, as Debian does by default, so that the modes of what is in it count."""
    home = f"/home/{user}"
    mode = lab.root(machine, f"stat -c %a {home} && chmod 0755 {home}").out.strip()
    try:
        yield
    finally:
        assert lab.root(machine, f"chmod {mode} {home}").code == 0
