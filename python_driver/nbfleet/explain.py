"""What SSH's and Ansible's own words mean, in one sentence with the next step.

It reads nothing but the known host key that ssh's words point to.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reason:
    """Why something failed.

    Attributes:
        code: A word for programs.
        says: The end of a sentence that begins with the account or machine.
        hint: The next step.
        askable: Whether an answer at the terminal (password, second factor, yes to a key) may cure it.
    """

    code: str
    says: str
    hint: str
    askable: bool = False


_RUNS_NOTHING = r"service allows sftp connections only|account is currently not available"

# The first pattern found wins: the changed key before the failed verification that follows it.
_SSH: tuple[tuple[str, Reason], ...] = (
    (
        _RUNS_NOTHING,
        Reason(
            "no_shell",
            "takes the login and runs no command (internal-sftp, or nologin as the shell)",
            "Ask who runs that machine for a login shell and no ForceCommand.",
        ),
    ),
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|host key for .* has changed",
        Reason(
            "host_key_changed",
            "has another host key than the one known here{keys}",
            "Ask who runs {where} whether that is its key now; if so, remove the old one{file} and connect again.",
        ),
    ),
    (
        r"No \S+ host key is known for|Host key verification failed|authenticity of host",
        Reason(
            "host_key_unknown",
            "has a host key that is not known here",
            "Run it in a terminal, or connect once with ssh, and compare the fingerprint before you say yes.",
            askable=True,
        ),
    ),
    (
        r"Could not resolve hostname|Name or service not known|Temporary failure in name resolution",
        Reason("name_unknown", "is a name that cannot be looked up", "Check its spelling, the network and the VPN."),
    ),
    (
        r"Too many authentication failures",
        Reason(
            "too_many_keys",
            "refused because too many keys were offered",
            "Name the key: ansible_ssh_private_key_file, or IdentityFile and IdentitiesOnly in your SSH configuration.",
        ),
    ),
    (
        # The key is not among the methods that are left: it was taken, or is not wanted.
        r"Permission denied \((?!\S*publickey)\S*(?:keyboard-interactive|password)",
        Reason(
            "answer_needed",
            "asks for a password or a second factor ({methods})",
            "Run it in a terminal, where it can be answered once; what follows within minutes uses that connection.",
            askable=True,
        ),
    ),
    (
        r"Permission denied",
        Reason(
            "permission_denied",
            "does not accept the key or the user name",
            "Check user and key with ssh; a password or a second factor is asked for in a terminal.",
            askable=True,
        ),
    ),
    (
        r"Connection refused",
        Reason("refused", "refuses the connection", "Check the port, and whether its SSH server runs."),
    ),
    (
        r"timed out|Operation timeout|Timeout, server",
        Reason("timeout", "does not answer", "Check the address, the network or VPN, and any firewall on the way."),
    ),
    (
        r"No route to host|Network is unreachable",
        Reason("no_route", "cannot be reached from this network", "Check the network or the VPN."),
    ),
    (
        r"administratively prohibited|open failed|stdio forwarding failed",
        Reason(
            "forward_refused",
            "is not let through by {before}",
            "Ask who runs {before} about AllowTcpForwarding and PermitOpen in its SSH server.",
        ),
    ),
    (
        r"UNKNOWN port 65535",
        Reason(
            "jump_failed",
            "cannot be reached: {before}, or its ProxyCommand, hung up",
            "Try ssh with the same arguments; its words name the machine that refuses.",
        ),
    ),
    (
        r"Connection closed|Connection reset|kex_exchange_identification|banner exchange",
        Reason(
            "hung_up",
            "hung up before the login",
            "Too many connections at once, or this address or user is not allowed; try again, or with --forks 5.",
        ),
    ),
    (
        r"Bad configuration option|Bad owner or permissions|no argument after keyword",
        Reason("ssh_config", "cannot be reached: the SSH configuration has an error", "Correct it: {words}"),
    ),
)


def runs_nothing(words: str) -> bool:
    """Tell whether these are the words of an account that may log in and run nothing."""
    return re.search(_RUNS_NOTHING, words) is not None


def ssh_reason(words: str, *, where: str, before: str = "") -> Reason:
    """Return what ssh's own words mean for the machine `where`, which is reached through the machine `before`."""
    before = before or "the machine before it"
    for pattern, reason in _SSH:
        if re.search(pattern, words, re.IGNORECASE):
            offending = re.search(r"Offending .*? in (.+?):(\d+)", words)
            file = f" (line {offending[2]} of {offending[1]})" if offending else ""
            methods = re.search(r"Permission denied \((.*?)\)", words)
            keys = _both_keys(words, offending)
            says = reason.says.format(methods=methods[1] if methods else "", keys=keys, before=before)
            hint = reason.hint.format(where=where, file=file, words=last_line(words), before=before)
            return Reason(reason.code, says, hint, reason.askable)
    return Reason("unreachable", f"cannot be reached ({last_line(words)})", f"Try: ssh {where}")


def _both_keys(words: str, offending: re.Match[str] | None) -> str:
    """Return the fingerprints of the key that a machine sent and of the one known for it, as far as they can be told.

    Args:
        words: ssh's own, which hold the sent key's fingerprint.
        offending: File and line number of the known key in them.
    """
    sent = re.search(r"sent by the remote host is\s+(SHA256:[\w+/]+)", words)
    known = known_fingerprint(Path(offending[1]), int(offending[2])) if offending else ""
    told = [f"known: {known}"] if known else []
    told += [f"sent: {sent[1]}"] if sent else []
    return f" ({', '.join(told)})" if told else ""


def known_fingerprint(known_hosts: Path, number: int) -> str:
    """Return a known host key's fingerprint as `ssh-keygen -l` shows it, empty when that line holds none.

    Args:
        known_hosts: A file in the format that sshd(8) describes under SSH_KNOWN_HOSTS.
        number: The line, from 1.
    """
    try:
        line = known_hosts.read_text().splitlines()[number - 1]
        _hosts, _kind, key, *_ = re.sub(r"^@\S+\s+", "", line).split()
        digest = hashlib.sha256(base64.b64decode(key, validate=True)).digest()
    except (OSError, ValueError, IndexError):
        return ""
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def last_line(words: str) -> str:
    """Return the last line that says something, without a dot at its end."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no reason was given"


def task_reason(data: dict[str, Any]) -> Reason:
    """Return why a task failed, from the data of Ansible's event."""
    task = str(data.get("task") or "a task")
    result = data.get("res")
    result = result if isinstance(result, dict) else {}
    message = first_sentence(result)
    if runs_nothing(words := f"{result.get('stdout')} {result.get('stderr')} {message}"):
        return ssh_reason(words, where="that machine")
    hint = "Run it again with -v for Ansible's own output."
    if "No space left on device" in str(result):
        hint = "Make room on that account's disk, then run it again."
    return Reason("task_failed", f"failed at “{task}”: {message}", hint)


def first_sentence(result: dict[str, Any]) -> str:
    """Return the part of a task's result that a person wants to read, in one line."""
    if "censored" in result:
        return "its output is hidden, because it may hold a secret"
    items = result.get("results")
    if isinstance(items, list):
        failed = [item for item in items if isinstance(item, dict) and item.get("failed")]
        if failed:
            return first_sentence(failed[0])
    message = str(result.get("msg") or "").strip()
    if not message or message.startswith("non-zero return code"):
        message = last_line(str(result.get("stderr") or "") or str(result.get("stdout") or ""))
    message = re.sub(r"^(?:Task failed: |The filter plugin '\w+' failed: )+", "", message)
    return " ".join(message.split())[:600].rstrip(".")
