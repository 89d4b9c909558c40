# shellcheck shell=sh
# Stops Jupyter and removes its files where no Python is left; $@ are the files.
#
# MODE check looks only. KEEPER is who keeps Jupyter: the user's systemd its UNIT, or a session, spoken to by COMMAND,
# with its notes in RUNTIME. STATE is the folder of the files; LINGERS the note that lingering was switched on, which
# with ADMIN root gives back: this script then says so.
: "${XDG_RUNTIME_DIR:=/run/user/$(id -u)}"
export XDG_RUNTIME_DIR

# The time at which a process was started, in the kernel's count: its number may belong to another one by now.
start_of() {
  # shellcheck disable=SC2046 # words
  set -- $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null)
  echo "${20:-}"
}

noted() { sed -n "s/^$1=//p" "$RUNTIME/keeper" 2>/dev/null; }

end_session() {
  pid=$(noted pid) start=$(noted start)
  for signal in TERM KILL; do
    tries=350 # of 0.1 s: the supervisor gives the server 20 s
    [ -z "$pid" ] || [ "$(start_of "$pid")" != "$start" ] || kill -s "$signal" "$pid"
    while [ -n "$pid" ] && [ "$(start_of "$pid")" = "$start" ] && [ "$tries" -gt 0 ]; do
      tries=$((tries - 1))
      sleep 0.1
    done
  done
  [ -z "$pid" ] || [ "$(start_of "$pid")" != "$start" ] || return 1
  [ ! -O "$RUNTIME" ] || rm -rf "$RUNTIME"
  boot="@reboot sh $COMMAND start # nbfleet"
  lines=$(crontab -l 2>/dev/null)
  if printf '%s\n' "$lines" | grep -qxF "$boot"; then
    if left=$(printf '%s\n' "$lines" | grep -vxF "$boot"); then
      printf '%s\n' "$left" | crontab -
    else
      crontab -r
    fi
  fi
}

found=
for file; do
  if [ -e "$file" ] || [ -h "$file" ]; then found=yes; fi
done
if [ -n "$found" ]; then
  echo 'nbfleet: removed'
  if [ "$MODE" = remove ]; then
    if [ "$KEEPER" = session ]; then
      end_session || exit 1
    else
      systemctl --user disable --now "$UNIT"
    fi
    if [ -e "$LINGERS" ]; then
      if [ -n "$ADMIN" ]; then echo 'nbfleet: lingers'; else loginctl --no-ask-password disable-linger || exit 1; fi
    fi
    rm -f "$@" || exit 1
    if [ "$KEEPER" != session ]; then
      systemctl --user daemon-reload
      systemctl --user reset-failed "$UNIT"
    fi
    for file; do
      case $file in *.py) rm -f "$STATE/__pycache__/$(basename "$file" .py)".*.pyc ;; esac
    done
    rmdir "$STATE/__pycache__" "$STATE"
  fi
fi
echo 'nbfleet: done'
