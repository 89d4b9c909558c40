"""How each keeper of a service is spoken to on its account: POSIX shell functions of the same names for all.

`state` and `show KEY` answer in systemd's words, `order start|restart` carries out and says what went wrong,
`log LINES FORMAT` prints what the service wrote, `by` names the program that a session is in; `$unit` is the keeper's
unit, or the command of a session.
"""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbfleet.endpoint import Endpoint

_ANY = """\
by() { :; }
"""

_USER = """\
: "${XDG_RUNTIME_DIR:=/run/user/$(id -u)}"
export XDG_RUNTIME_DIR
state() { systemctl --user is-active "$unit" 2>&1; }
show() { systemctl --user show -p "$1" --value "$unit" 2>/dev/null; }
order() {
  systemctl --user reset-failed "$unit" 2>/dev/null
  systemctl --user "$1" "$unit" 2>&1
}
log() { journalctl --user -u "$unit" -n "$1" -o "$2" --no-pager 2>/dev/null; }
"""

# The account may end its own process, and systemd starts it again; to start it where it is down needs root.
_SYSTEM = """\
state() { systemctl is-active "$unit" 2>&1; }
show() { systemctl show -p "$1" --value "$unit" 2>/dev/null; }
order() {
  before=$(show MainPID)
  if [ "$1" = restart ] && [ "${before:-0}" != 0 ]; then
    kill "$before"
    until=$(($(date +%s) + 180))
    while [ "$(show MainPID)" = "$before" ] || [ "$(state)" != active ]; do
      [ "$(date +%s)" -lt "$until" ] || { echo "it did not come back within 180 s" && return; }
      sleep 0.2
    done
  else
    sudo -n systemctl "$1" "$unit" 2>&1 || echo "only root can start it, ask an admin for systemctl $1 $unit"
  fi
}
log() { journalctl -u "$unit" -n "$1" -o "$2" --no-pager 2>/dev/null; }
"""

_SESSION = """\
told() { sh "$unit" show 2>/dev/null | sed -n "s/^$1=//p"; }
state() { if [ -e "$unit" ]; then told state; else echo inactive; fi; }
show() {
  case $1 in
    LoadState) if [ -e "$unit" ]; then echo loaded; else echo not-found; fi ;;
    ActiveEnterTimestamp) told since ;;
    MainPID) told server ;;
  esac
}
by() { told by; }
order() { sh "$unit" "$1" 2>&1; }
log() { tail -n "$1" "${unit%/*}/jupyter.log" 2>/dev/null; }
"""

_HEADS = {"system": _SYSTEM, "session": _SESSION}

# Words for a shell whose $1 is the keeper and $2 its unit: they leave the server's process in $pid.
MAIN_PID = (
    'case $1 in session) pid=$(sh "$2" show | sed -n "s/^server=//p") ;; '
    'system) pid=$(systemctl show -p MainPID --value "$2") ;; '
    '*) : "${XDG_RUNTIME_DIR:=/run/user/$(id -u)}"; export XDG_RUNTIME_DIR; '
    'pid=$(systemctl --user show -p MainPID --value "$2") ;; esac; '
)


def head(endpoint: Endpoint) -> str:
    """Return the functions for an account's keeper."""
    return f"unit={shlex.quote(endpoint.unit)}\n" + _ANY + _HEADS.get(endpoint.keeper, _USER)


def title(keeper: str, by: str | None) -> str:
    """Return a keeper in the words of a user: `user`, or `session (tmux)`."""
    return f"{keeper} ({by})" if by else keeper


def follow(endpoint: Endpoint, *, lines: int) -> list[str]:
    """Return the words of the command that prints the log's last lines and then those to come."""
    if endpoint.keeper == "session":
        return ["tail", "-n", str(lines), "-F", str(PurePosixPath(endpoint.unit).parent / "jupyter.log")]
    scope = [] if endpoint.keeper == "system" else ["--user"]
    return ["journalctl", *scope, "-u", endpoint.unit, "-n", str(lines), "-f", "-o", "short-iso"]
