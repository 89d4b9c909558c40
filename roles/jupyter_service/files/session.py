"""Keep Jupyter running on an account without systemd of its own: a supervisor that outlives the login.

Usage: session.py SETTINGS start|restart|stop|show|keep

start puts `keep`, the supervisor, into tmux, else into screen, else behind setsid, and returns when Jupyter answers.
SETTINGS is a JSON file: command, gate, files, environment, variables_files, token_file, runtime, log, nice, seconds.
What runs is noted in the runtime folder as `key=value` lines in `keeper`; a process counts as ours only with the time
of its start, as its number may belong to another one by now.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TextIO

BEGIN_SECONDS = 40  # that the supervisor has to begin
END_SECONDS = 20  # that the server has to end by itself
AGAIN_SECONDS = 2  # before it is started again
BURST, INTERVAL = 10, 300  # so many ends within so many seconds are too many
LOG_BYTES = 1_000_000  # at which the log is moved aside; one older is kept
OURS = {"keeper", "lock", "tmux"}  # in the runtime folder; everything else is the server's and goes with it
KEPT = re.compile(r"HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|PATH|TERMINFO|http_proxy|https_proxy|no_proxy")
SUBREAPER, DEATHSIG = 36, 1  # of prctl(2)
STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
HEARD = {*STOPS, signal.SIGCHLD}


def start_of(pid: int) -> str:
    """Return the time at which a living process of ours was started, in the kernel's count; empty for no such one."""
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.getuid():  # noqa: PTH116 - one call
            return ""
        words = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in "ZX" else words[19]


class Session:
    """The session of one account."""

    def __init__(self, settings: str) -> None:
        self.settings_file = settings
        self.told: dict[str, Any] = json.loads(Path(settings).read_text())
        self.run = Path(self.told["runtime"])
        self.log = Path(self.told["log"])

    def note(self) -> dict[str, str]:
        """Return what the supervisor noted last; its state is `inactive` when it has gone without a word."""
        try:
            noted = dict(line.split("=", 1) for line in (self.run / "keeper").read_text().splitlines())
            if noted["state"] != "failed" and start_of(int(noted["pid"])) != noted["start"]:
                noted["state"] = "inactive"
        except (OSError, ValueError, KeyError):
            return {"state": "inactive"}
        return noted

    def write(self, **words: object) -> None:
        """Note what became of it; nobody ever reads the half of it."""
        new = self.run / ".keeper.new"
        new.write_text("".join(f"{key}={value}\n" for key, value in words.items()))
        new.replace(self.run / "keeper")

    def private(self) -> str:
        """Make the runtime folder; returns what is wrong with it."""
        try:
            with contextlib.suppress(FileExistsError):
                self.run.mkdir(mode=0o700)
            found = self.run.lstat()
        except OSError as error:
            return f"{self.run} cannot be made ({error.strerror})"
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return f"{self.run} belongs to somebody else; ask an admin to remove it, or set jupyter_service_runtime_dir"
        self.run.chmod(0o700)
        return ""

    def start(self) -> str:
        """Start the supervisor where none lives, and wait until Jupyter answers; returns what went wrong."""
        if wrong := self.private():
            return wrong
        noted = self.note()
        if noted["state"] in ("inactive", "failed"):
            (self.run / "keeper").unlink(missing_ok=True)
            if wrong := self.launch():
                return wrong
        limits = {"inactive": BEGIN_SECONDS, "activating": int(self.told["seconds"]) + 15}
        began = time.monotonic()
        while (noted := self.note())["state"] in limits:
            limit = limits[noted["state"]]
            if time.monotonic() > began + limit:
                return f"the session's supervisor is {noted['state']} after {limit} s; see {self.log}"
            time.sleep(0.05)  # between two looks at its note, up to the limit
        return "" if noted["state"] == "active" else noted.get("why", "it failed")

    def launch(self) -> str:
        """Put the supervisor where it outlives this login; returns what went wrong."""
        keep = [sys.executable, "-I", __file__, self.settings_file, "keep"]
        # A server and settings of its own: the user's tmux or screen has nothing to do with it.
        ways = {
            "tmux": ["tmux", "-S", str(self.run / "tmux"), "-f", "/dev/null", "new-session", "-d", "-s", "jupyter"],
            "screen": ["screen", "-c", "/dev/null", "-dmS", "nbfleet-jupyter"],
            "setsid": ["setsid", "-f"],
        }
        said = "there is none of tmux, screen and setsid"
        for name, words in ways.items():
            if not shutil.which(name):
                continue
            # Not through pipes: what outlives us would hold them open.
            done = subprocess.run(
                [*words, *keep, name],
                env={**os.environ, "TERM": os.environ.get("TERM") or "dumb"},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
                timeout=60,
            )
            if done.returncode == 0:
                return ""
            said = f"{name} ended with status {done.returncode}"
        return said

    def stop(self) -> str:
        """End the supervisor and all that it started; returns what went wrong."""
        noted = self.note()
        pid = int(noted.get("pid", 0))
        for number, seconds in ((signal.SIGTERM, END_SECONDS + 15), (signal.SIGKILL, 10)):
            if noted["state"] in ("inactive", "failed") or not start_of(pid):
                break
            os.kill(pid, number)
            deadline = time.monotonic() + seconds
            while start_of(pid) == noted["start"] and time.monotonic() < deadline:
                time.sleep(0.05)
        if noted["state"] not in ("inactive", "failed") and start_of(pid) == noted["start"]:
            return f"the session's supervisor, process {pid}, does not end"
        if not self.private():
            shutil.rmtree(self.run, ignore_errors=True)
        return ""

    def keep(self, way: str) -> str:
        """Be the supervisor: start the server again when it dies, until told to end or it ends by itself."""
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        lock = (self.run / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return ""  # another one was quicker
        # Kernels whose server died become ours, so that none is left behind.
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
        noted = {"pid": os.getpid(), "start": start_of(os.getpid()), "by": way, "state": "activating"}
        self.write(**noted)
        sys.stdout.write(f"Jupyter runs below this; its log is {self.log}, Ctrl-C ends it.\n")
        sys.stdout.flush()
        ends: list[float] = []
        proved = False
        while True:
            ended, why = self.serve(noted)
            proved |= noted["state"] == "active"
            # A first start that fails is an answer; what worked once is tried again.
            if ended != "inactive" and proved:
                noted["state"] = "activating"
                self.write(**noted)
                ends = [moment for moment in ends if moment > time.monotonic() - INTERVAL] + [time.monotonic()]
                if len(ends) <= BURST and not self.told_to_end(AGAIN_SECONDS):
                    continue
                ended = "failed" if len(ends) > BURST else "inactive"
            if ended != "inactive":
                self.write(**{**noted, "state": "failed", "why": why})
            else:
                (self.run / "keeper").unlink(missing_ok=True)
            return why

    def appended(self) -> TextIO:
        """Open the log, which is the account's alone, to write at its end."""
        return os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a")

    def serve(self, noted: dict[str, Any]) -> tuple[str, str]:
        """Run the server once; returns `inactive` or `failed`, and why it ended."""
        for path in self.run.iterdir():
            if path.name not in OURS:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        # An empty token would leave the server open.
        token = Path(self.told["token_file"])
        if not token.is_file() or token.stat().st_size != 64:
            why = "the token file is not 64 characters long"
            with self.appended() as log:
                log.write(f"{why}\n")
            return "failed", why
        self.trim()
        environ = self.environment()
        with self.appended() as log:
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            home = os.environ["HOME"]
            server = subprocess.Popen(self.told["command"], env=environ, cwd=home, preexec_fn=self.before, **streams)
            environ["MAINPID"] = str(server.pid)
            gate = subprocess.Popen(
                [*self.told["gate"], *self.told["files"]], env=environ, preexec_fn=self.before, stderr=subprocess.PIPE
            )
        while server.poll() is None:
            heard = self.hear(60, {server.pid, gate.pid})
            if heard in STOPS:
                gate.kill()
                self.end(server)
                return "inactive", ""
            if gate and gate.poll() is not None and noted["state"] == "activating":
                said = gate.stderr.read().decode(errors="replace").splitlines() if gate.stderr else []
                if gate.returncode != 0:
                    self.end(server)
                    return "failed", said[-1] if said else "Jupyter did not come up"
                noted.update(state="active", server=server.pid, since=time.strftime("%a %Y-%m-%d %H:%M:%S %Z"))
                self.write(**noted)
            self.trim()
        gate.kill()
        gate.wait()
        self.end(server)
        if server.returncode == 0:
            return "inactive", ""
        return "failed", f"Jupyter ended with status {server.returncode}; see {self.log}"

    def environment(self) -> dict[str, str]:
        """Return the server's environment: nothing of the login that happened to start it."""
        environ = {key: value for key, value in os.environ.items() if KEPT.fullmatch(key)}
        environ.update(self.told["environment"])
        for file in map(Path, filter(None, self.told["variables_files"])):
            for line in file.read_text().splitlines() if file.is_file() else ():
                if found := re.fullmatch(r'(\w+)="(.*)"', line):
                    environ[found[1]] = re.sub(r'\\(["\\`$])', r"\1", found[2])
        return environ

    def before(self) -> None:
        """Prepare a child: no signal blocked, ended with us, polite, and with all the files it may open."""
        ctypes.CDLL(None).prctl(DEATHSIG, signal.SIGTERM, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.nice(int(self.told["nice"]))
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, most) if most > 0 else 65536, most))

    def end(self, server: subprocess.Popen[bytes]) -> None:
        """End the server, politely at first, and then everything that is left of it."""
        if server.poll() is None:
            server.terminate()
        deadline = time.monotonic() + END_SECONDS
        while server.poll() is None and time.monotonic() < deadline:
            self.hear(0.2, {server.pid})
        deadline = time.monotonic() + 5
        while (left := children()) and time.monotonic() < deadline:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            for pid in left:
                if pid != server.pid:
                    os.waitpid(pid, 0)
            server.poll()

    def hear(self, seconds: float, mine: set[int]) -> int:
        """Wait for a signal, and bury the server's orphans, not `mine`; returns the signal, 0 for none."""
        heard = signal.sigtimedwait(HEARD, seconds)
        peek = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while (left := children()) and (dead := os.waitid(os.P_ALL, 0, peek)) and dead.si_pid in set(left) - mine:
            os.waitpid(dead.si_pid, 0)
        return heard.si_signo if heard else 0

    def told_to_end(self, seconds: float) -> bool:
        """Wait a while for the order to end."""
        return signal.sigtimedwait(STOPS, seconds) is not None

    def trim(self) -> None:
        """Keep the log small, and the runtime folder's files too young for whoever clears old ones away."""
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            self.log.with_suffix(".log.1").chmod(0o600)
            os.truncate(self.log, 0)
        for path in self.run.iterdir():
            if path.is_file():
                os.utime(path)


def children() -> list[int]:
    """Return our own children; those of the server that outlived it have become ours."""
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in found]


def main(settings: str, order: str, *more: str) -> str:
    """Carry out one order; returns what went wrong, or nothing."""
    session = Session(settings)
    os.umask(0o077)
    if order == "keep":
        return session.keep(*more)
    if order in ("stop", "restart") and (wrong := session.stop()):
        return wrong
    if order in ("start", "restart"):
        return session.start()
    if order == "show":
        noted = session.note()
        sys.stdout.write("".join(f"{key}={noted[key]}\n" for key in ("state", "server", "since", "by") if key in noted))
    return ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) or 0)
