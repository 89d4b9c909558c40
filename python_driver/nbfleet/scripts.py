"""What the service of an account is asked and ordered by: POSIX shell, which answers in lines `nbfleet:KEY=VALUE`."""

from __future__ import annotations

# Before the others, behind what keepers.py says of the account's keeper.
SAY = """\
say() { printf '%s\\n' "nbfleet:$1"; }
server() { pid=$(show MainPID); python=$(readlink -f "/proc/$pid/exe" 2>/dev/null); }
telling='(error|exception): |error while|refus|denied|no such|not found|in use|token file is'
why() { log 40 cat | grep -iE "$telling" | tail -n 1; }
"""

# The words that the server runs with name its configuration.
ENSURE = """\
state=$(state)
started=no
wrong=
if [ {again} = yes ]; then
  server
  config=$(tr '\\0' '\\n' 2>/dev/null <"/proc/$pid/cmdline" | sed -n 's/^--config=//p')
  if [ -n "$config" ] && [ -x "$python" ]; then
    wrong=$("$python" -IBc {readable} "$config" 2>&1 | tail -n 1)
  fi
fi
if [ -n "$wrong" ]; then
  say "wrong=$wrong"
elif [ "$state" != active ] || [ {again} = yes ]; then
  started=yes
  words=$(order {order})
  state=$(state)
fi
say "started=$started"
say "state=$state"
say "by=$(by)"
if [ "$state" = active ]; then
  say "token=$(cat {token} 2>/dev/null)"
else
  say "load=$(show LoadState)"
  say "words=$(printf %s "$words" | tr '\\n' ' ')"
  say "log=$(why)"
fi
"""

SURVEY = """\
state=$(state)
say "state=$state"
if [ "$state" = failed ]; then say "log=$(why)"; fi
say "load=$(show LoadState)"
say "since=$(show ActiveEnterTimestamp)"
say "by=$(by)"
say "memory=$(show MemoryCurrent)"
server
if [ "${{pid:-0}}" != 0 ] && [ -x "$python" ]; then
  "$python" -I - "$pid" {listen} {place} {base_url} <<'PYTHON'
import os, pathlib, socket, sys
pid, listen, place, base_url = sys.argv[1:]
try:
    if listen == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.settimeout(5)
        server.connect(place)
    else:
        server = socket.create_connection(("127.0.0.1", int(place)), 5)
    server.sendall(f"GET {{base_url}}api HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n".encode())
    print("nbfleet:answers=" + ("yes" if b" 200 " in server.recv(64) else "no"))
except OSError:
    print("nbfleet:answers=no")
todo, pages = [pid], 0
while todo:
    process = pathlib.Path("/proc", todo.pop())
    try:
        pages += int((process / "statm").read_text().split()[1])
        for task in (process / "task").iterdir():
            todo += (task / "children").read_text().split()
    except OSError:
        pass
print("nbfleet:resident=" + str(pages * os.sysconf("SC_PAGE_SIZE")))
PYTHON
fi
"""
