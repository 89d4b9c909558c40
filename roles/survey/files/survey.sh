# shellcheck shell=sh
# Answer every question the roles have about one account, in one round trip.
# POSIX sh with coreutils only: no Python, nothing read from standard input, nothing written but the receipt.
# The lines between the two marks are the answer; what a noisy rc file prints stays outside them.
# Set before this text, paths beginning with @HOME@ where they lie in the home:
#   SURVEY_PREFIX    the folder of conda
#   SURVEY_RECEIPT   the file in which the last successful run left what it had made, before the machine's own ending
#   SURVEY_OWNER     the file that says which machine's Jupyter has the plain names in this home
#   SURVEY_WANTED    a digest of all that is asked of the account
#   SURVEY_THINGS    only after a successful run: "KIND PATH" for each thing to watch, "source NAME WORD" for what it was
#                    made from; the receipt is written anew
#   SURVEY_KEEPERS   who may keep the service running, "NAME UNIT RUNTIME" for each, the best first
#   SURVEY_KEPT      the file that says who does already
#   SURVEY_LINGER    yes: the user's systemd needs lingering to be of use; root: and root is there to switch it on
#   SURVEY_LISTENER  what the service answers on: a socket's path, or a port
# In braces, so that the shell has read all of it before a command of it could read on.
{
LC_ALL=C
export LC_ALL

# Whoever became this user may have left it in a folder that it cannot enter.
cd "$HOME" || cd /

say() { printf '%s=%s\n' "$1" "$2"; }
has() { command -v "$1" >/dev/null; }
yes_no() { if "$@" >/dev/null; then echo yes; else echo no; fi; }
# A program that may hang, as a Python on a file system that does not answer, with an end where the machine can set one.
limited() { if has timeout; then timeout -k 2 10 "$@"; else "$@"; fi; }

# The file system's figures for a path that may not exist yet: its nearest parent answers.
space() {
  place=$2
  while [ ! -e "$place" ] && [ "$place" != / ]; do place=$(dirname "$place"); done
  say "$1_free_mb" "$(df -Pk "$place" | awk 'NR == 2 { print int($4 / 1024) }')"
  say "$1_free_inodes" "$(df -Pi "$place" | awk 'NR == 2 { print $4 }')"
  say "$1_filesystem" "$(stat -f -c %T "$place")"
  say "$1_device" "$(stat -c %d "$place")"
}

user=$(id -un)
uid=$(id -u)
entry=$(getent passwd "$user" || grep "^$user:" /etc/passwd)
temporary=${TMPDIR:-/tmp}
runtime=
apart=
at_home() {
  printf '%s\n' "$1" | sed -e "s|@HOME@|$HOME|g" -e "s|@UID@|$uid|g" -e "s|@RUNTIME@|$runtime|g" -e "s|@APART@|$apart|g"
}
SURVEY_PREFIX=$(at_home "$SURVEY_PREFIX")

# File systems that are known to be of many machines.
of_many() {
  case $(stat -f -c %T "$HOME") in
    nfs* | smb* | cifs | afs | lustre | gpfs | panfs | ceph | beegfs | ocfs2 | gfs* | v9fs) ;;
    *) return 1 ;;
  esac
}

# Many machines may see this home. The first one has the plain names for what is its own, and notes itself; every other
# one, and all of them on a file system that is known to be of many, have names with their own at the end.
machine=$(cat /etc/machine-id)
here=$(uname -n)
receipts=$(at_home "$SURVEY_RECEIPT")
if [ -e "$receipts-$here" ]; then
  apart=-$here
elif read -r owner_id owner_name <"$(at_home "$SURVEY_OWNER")"; then
  [ "$owner_id" = "${machine:-none}" ] || [ "$owner_name" = "$here" ] || apart=-$here
elif [ ! -e "$receipts" ] && of_many; then
  apart=-$here
fi
SURVEY_RECEIPT=$receipts$apart
others=
for other in "$receipts" "$receipts"-*; do
  if [ -e "$other" ] && [ "$other" != "$SURVEY_RECEIPT" ]; then others="$others $other"; fi
done

# What stands at a path now, as one word. A tree's word covers every file's name, size, mode and time of change,
# but for what Python and Jupyter write there by themselves.
stands() {
  case $1 in
    file) [ -e "$2" ] && printf '%s:' "$(stat -Lc %a "$2")" && sha256sum <"$2" | cut -c1-64 ;;
    # Not even a hash of a secret leaves its file.
    secret) [ -e "$2" ] && stat -c %a:%s:%Y:%i "$2" ;;
    link) readlink "$2" ;;
    exists) [ -e "$2" ] && echo yes ;;
    tree)
      [ -d "$2" ] && find -H "$2" \( -path "$2/envs" -o -path "$2/pkgs" -o -name __pycache__ \) -prune -o \
        \( -type f -o -type l \) ! -name '*.pyc' ! -name 'history' -printf '%P %s %m %T@\n' | sort | sha256sum | cut -c1-64
      ;;
  esac || echo gone
}

# Read "KIND PATH" lines, print them with what stands there; a source has its word already, which this machine cannot know.
state() {
  while read -r kind path word; do
    case $kind in
      '') ;;
      source) printf '%s %s %s\n' "$kind" "$path" "$word" ;;
      *) printf '%s %s %s\n' "$kind" "$path" "$(stands "$kind" "$path")" ;;
    esac
  done
}

echo '<<nbfleet survey 1>>'
say wanted "$SURVEY_WANTED"
say user "$user"
say uid "$uid"
say gid "$(id -g)"
say home "$HOME"
say login_shell "${entry##*:}"
say hostname "$here"
say machine "${machine:-none}"
say apart "$apart"
say others "${others# }"
say system "$(uname -s)"
say kernel "$(uname -r)"
say architecture "$(uname -m)"
if glibc=$(getconf GNU_LIBC_VERSION); then
  say libc glibc
  say libc_version "${glibc##* }"
else
  case $(ldd --version 2>&1) in
    *musl*) say libc musl ;;
    *) say libc unknown ;;
  esac
fi
if [ -r /etc/os-release ]; then
  # shellcheck source=/dev/null
  say distribution "$(. /etc/os-release && printf '%s %s' "$ID" "${VERSION_ID:-}")"
fi

space home "$HOME"
space temporary "$temporary"
probe=$(mktemp "$temporary/nbfleet.XXXXXX") && {
  printf '#!/bin/sh\nexit 0\n' >"$probe"
  chmod 700 "$probe"
  say temporary_executable "$(yes_no "$probe")"
  rm -f "$probe"
}

# The interpreter that Ansible's modules can use (3.9 or newer), if there is one before ours.
# Its own word for its path: a shim on PATH need not run for everybody.
python=
prefix_python=$(yes_no limited "$SURVEY_PREFIX/bin/python" -c 'import sys')
if [ "$prefix_python" = no ]; then
  for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 /usr/libexec/platform-python; do
    has "$candidate" || continue
    python=$(limited "$candidate" -c 'import sys; sys.version_info >= (3, 9) and print(sys.executable)')
    [ -z "$python" ] || break
  done
fi
say python "$python"
say prefix_python "$prefix_python"

init=systemd
[ -d /run/systemd/system ] || init=$(cat /proc/1/comm)
say init "$init"
if [ ! -O "${XDG_RUNTIME_DIR:-}" ]; then # none, or that of who became this user
  XDG_RUNTIME_DIR=/run/user/$uid
  unset DBUS_SESSION_BUS_ADDRESS
fi
export XDG_RUNTIME_DIR
user_manager=$(systemctl --user is-system-running)
linger=$(yes_no test -e "/var/lib/systemd/linger/$user")
say user_manager "$user_manager"
say linger "$linger"
case $(stat -f -c %T /sys/fs/cgroup) in
  cgroup2fs)
    say cgroup 2
    say cgroup_controllers "$(cat "/sys/fs/cgroup/user.slice/user-$uid.slice/user@$uid.service/cgroup.controllers")"
    ;;
  *) say cgroup 1 ;;
esac

# What is in the way of each keeper; nothing: the account can have it.
user_refused() {
  [ "$init" = systemd ] || { echo "the machine runs without systemd" && return; }
  case $user_manager in
    running | degraded | starting | initializing | maintenance)
      if [ "$linger" = yes ] || [ "$SURVEY_LINGER" = no ]; then return; fi
      ;;
    *)
      # Lingering would start one where none may run yet.
      if [ "$linger" = yes ] || [ "$SURVEY_LINGER" = no ] ||
        [ "$(systemctl show -P LoadState "user@$uid.service")" != loaded ]; then
        echo "no systemd user manager answers" && return
      fi
      ;;
  esac
  [ "$SURVEY_LINGER" != root ] || return
  has pkcheck || return
  timeout 20 pkcheck --process $$ --action-id org.freedesktop.login1.set-self-linger >/dev/null || echo "lingering is refused"
}
system_refused() {
  if [ "$init" != systemd ]; then
    echo "the machine runs without systemd"
  # Who asks for it alone has a way to root, by a password for one, that this script has not.
  elif [ "$(printf '%s\n' "$candidates" | wc -l)" -gt 1 ] && ! timeout 20 sudo -n true; then
    echo "sudo does not make this user root without a password"
  fi
}
session_refused() {
  has tmux || has screen || has setsid || echo "none of tmux, screen and setsid is there"
  [ "$init" = systemd ] || return
  logind=org.freedesktop.login1
  # Whether it does so at all; the only users; the ones who are let be.
  timeout 20 busctl get-property $logind /org/freedesktop/login1 $logind.Manager \
    KillUserProcesses KillOnlyUsers KillExcludeUsers |
    awk -v "user= \"$user\" " 'NR == 1 { kills = $2 == "true" } NR == 2 && $2 > 0 { kills = kills && index($0 " ", user) }
      NR == 3 && index($0 " ", user) { kills = 0 } END { exit !kills }' || return
  echo "the machine ends what a login leaves running (KillUserProcesses)"
}

# Who keeps the service running: whoever does already, as long as it can, else the best that can.
candidates=$(at_home "$SURVEY_KEEPERS")
kept=$(head -n 1 "$(at_home "$SURVEY_KEPT")")
keeper='' unit='' runtime='' refused=''
while read -r name its_unit its_runtime; do
  [ -n "$name" ] || continue
  obstacle=$("${name}_refused")
  if [ -z "$obstacle" ] && { [ -z "$keeper" ] || [ "$name" = "$kept" ]; }; then
    keeper=$name unit=$its_unit runtime=$its_runtime
    if [ -z "$kept" ] || [ "$name" = "$kept" ]; then break; fi
  elif [ -z "$keeper" ]; then
    refused="$refused${refused:+, }$obstacle"
  fi
done <<KEEPERS
$candidates
KEEPERS
say keeper "${keeper:-none}"
say refused "$refused"
say kept "$kept"
say runtime "$runtime"

# The word for a session, of whose supervisor the number and the time of its start are noted.
session_state() {
  [ -O "$runtime/keeper" ] || { echo inactive && return; }
  pid='' start='' state=''
  while IFS='=' read -r key value; do
    case $key in pid) pid=$value ;; start) start=$value ;; state) state=$value ;; esac
  done <"$runtime/keeper"
  now=$(awk '{ sub(/.*\) /, ""); if ($1 != "Z") print $20 }' "/proc/$pid/stat")
  if [ "$state" = failed ] || [ "$now" = "$start" ]; then echo "$state"; else echo inactive; fi
}

# The questions of doctor.sh, where they are asked.
# @MORE@

# What the last successful run left, and what of it stands differently now. A receipt that cannot be read is none.
if [ -n "$SURVEY_THINGS" ]; then
  umask 077
  mkdir -p "$(dirname "$SURVEY_RECEIPT")"
  things=$(at_home "$SURVEY_THINGS" | state)
  { echo "nbfleet receipt 1 $SURVEY_WANTED" && echo "$things" && echo end; } >"$SURVEY_RECEIPT.new" &&
    mv -f "$SURVEY_RECEIPT.new" "$SURVEY_RECEIPT" && say receipt written
elif [ "$(tail -n 1 "$SURVEY_RECEIPT")" = end ] && read -r word _ version wanted <"$SURVEY_RECEIPT" &&
  [ "$word $version" = 'nbfleet 1' ]; then
  say receipt yes
  [ "$wanted" = "$SURVEY_WANTED" ] || say differs "what is asked of the account"
  sed -e 1d -e '$d' "$SURVEY_RECEIPT" | while read -r kind path left; do
    case $kind in
      source) say source "$path $left" ;;
      *) [ "$left" = "$(stands "$kind" "$path")" ] || say differs "$path" ;;
    esac
  done
else
  say receipt no
fi
case ${keeper:-none} in
  user) say service "$(systemctl --user is-active "$unit")" ;;
  system) say service "$(systemctl is-active "$unit")" ;;
  session) say service "$(session_state)" ;;
  none) say service "" ;;
esac
say listening "$(yes_no limited "$SURVEY_PREFIX/bin/python" -I -S -c '
import socket, sys
place = sys.argv[1]
server = socket.socket(socket.AF_INET if place.isdigit() else socket.AF_UNIX)
server.settimeout(5)
server.connect(("127.0.0.1", int(place)) if place.isdigit() else place)
server.sendall(b"GET /api HTTP/1.0\r\nHost: localhost\r\n\r\n")
sys.exit(not server.recv(5) == b"HTTP/")
' "$(at_home "$SURVEY_LISTENER")")"
echo '<<end of nbfleet survey>>'
} </dev/null 2>/dev/null
