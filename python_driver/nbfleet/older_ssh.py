"""The ssh of today on a client before 7.3: `python -m nbfleet.older_ssh ARGS`, called as ssh is.

What the client lacks is made here: -J and ProxyJump by a ProxyCommand that calls this program again, -W by a second
forward on 127.0.0.1, %C by a hash of ours, -G as far as the arguments tell, ControlPersist by a sleep over there. The
host key is checked all the same, by the ssh above the ProxyCommand and under the name that it was given.
"""

from __future__ import annotations

import getopt
import hashlib
import os
import shlex
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

from nbfleet import client, control, process
from nbfleet.endpoint import read_hop

LETTERS = "1246ab:c:e:fgi:kl:m:no:p:qstvxAB:CD:E:F:GI:J:KL:MNO:P:Q:R:S:TVw:W:XYy"
LOGIN_SECONDS = 120.0  # sshd's own limit for a login, questions included
AS_OPTION = {"-J": "proxyjump", "-l": "user", "-p": "port"}


class Call:
    """One call of ssh.

    Args:
        argv: Its arguments: options, the host, and a command.
    """

    def __init__(self, argv: list[str]) -> None:
        self.given, rest = getopt.getopt(argv, LETTERS)
        self.host, self.command = (rest[0] if rest else ""), rest[1:]
        self.letters = dict(self.given)  # of a repeated one the last, as ssh has it for -F
        self.settings: dict[str, str] = {}
        for letter, value in self.given:
            key, found = AS_OPTION.get(letter, ""), value
            if letter == "-o":
                key, _, found = value.replace(" ", "=", 1).partition("=")
            self.settings.setdefault(key.lower(), found.strip('" '))

    @property
    def control_path(self) -> str:
        """The control path, %C replaced by a hash that Ansible's call and the driver's have in common."""
        path = self.settings.get("controlpath", "none")
        if "%C" not in path:
            return path
        user, at, host = self.host.rpartition("@")
        way = [self.settings.get(key, "") for key in ("port", "proxyjump")]
        words = [control.written_over(self.letters.get("-F")), user if at else self.settings.get("user", ""), host]
        digest = hashlib.sha256("\0".join([*words, *way]).encode()).hexdigest()[: control.HASHED - 1]
        return path.replace("%C", digest)

    @property
    def jump(self) -> list[str]:
        """The option that leads over the jump hosts, or nothing."""
        names = self.settings.get("proxyjump", "none")
        if names == "none" or "proxycommand" in self.settings:
            return []
        *before, last = names.split(",")
        hop = read_hop(last, before=before, config=self.letters.get("-F"))
        words = ["-F", hop.config] if hop.config else []
        if "%C" in (template := self.settings.get("controlpath", "")):
            words += ["-o", f"ControlPath={template}"]
        program = control.ssh_program(control.control_folder())
        quoted = shlex.join([program, *words, *hop.options]).replace("%", "%%")
        return ["-o", f"ProxyCommand={quoted} -W [%h]:%p -- {shlex.quote(hop.host)}"]

    def words(self, *, without: str = "") -> list[str]:
        """Return the options that the client knows, in its own words."""
        found: list[str] = []
        for letter, value in self.given:
            key = value.replace(" ", "=", 1).partition("=")[0].lower() if letter == "-o" else ""
            if letter in ("-J", "-G") or key in ("proxyjump", "controlpath") or letter in without.split():
                continue
            if key == "controlpersist" and client.version() < client.PERSIST:
                continue
            found += [letter, *(["/dev/null" if (letter, value) == ("-F", "none") else value] if value else [])]
        return [*found, *self.jump]

    def run(self) -> int:
        """Do what was asked for; mostly, become ssh."""
        if not self.host:
            return become(sys.argv[1:])
        if "-G" in self.letters:
            told = {"port": "22", **self.settings, "hostname": self.host, "controlpath": self.control_path}
            sys.stdout.write("".join(f"{key} {value}\n" for key, value in told.items() if key))
            return 0
        if "-W" in self.letters and client.version() < client.STDIO_FORWARD:
            return self.carry(self.letters["-W"])
        path = ["-o", f"ControlPath={self.control_path}"] if "controlpath" in self.settings else []
        if "-f" in self.letters and "-N" in self.letters and client.version() < client.PERSIST:
            return become([*self.words(without="-N"), *path, "--", self.host, f"sleep {control.PERSIST}"])
        return become([*self.words(), *path, "--", self.host, *self.command])

    def carry(self, goal: str) -> int:
        """Carry standard input and output to `goal`, over a forward of their own that ends with them."""
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            port = chosen.getsockname()[1]
        alone = ["-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes"]
        words = ["ssh", *alone, *self.words(without="-W -N"), "-N", "-L", f"127.0.0.1:{port}:{goal}", "--", self.host]
        with process.beside(words) as forward:
            for number in (signal.SIGHUP, signal.SIGTERM):
                signal.signal(number, lambda *_: sys.exit(255))  # through the finally
            try:
                deadline = time.monotonic() + LOGIN_SECONDS
                while forward.poll() is None and time.monotonic() < deadline:
                    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)) as server:
                        relay(server)
                        return 0
                    time.sleep(0.02)  # ssh says nothing when it listens; up to the deadline
                if forward.poll() is None:
                    sys.stderr.write(f"ssh: waited {LOGIN_SECONDS:.0f} s for a login at {self.host}: timed out\n")
                return 255
            finally:
                forward.terminate()


def relay(server: socket.socket) -> None:
    """Carry bytes both ways until the server hangs up."""

    def upwards() -> None:
        with suppress(OSError):
            while data := os.read(0, 65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    threading.Thread(target=upwards, daemon=True).start()
    with suppress(OSError), open(1, "wb", buffering=0, closefd=False) as out:
        while data := server.recv(65536):
            while data:  # a pipe may take less than all
                data = data[out.write(data) or 0 :]


def become(words: list[str]) -> int:
    """Become the installed ssh."""
    os.execvp("ssh", ["ssh", *words])  # noqa: S606 - an argv list, no shell


if __name__ == "__main__":
    sys.exit(Call(sys.argv[1:]).run())
