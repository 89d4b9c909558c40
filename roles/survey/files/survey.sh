# shellcheck shell=sh
# Answer every question the roles have about one account, in one round trip.
# POSIX sh with coreutils only: no Python, nothing written, nothing read from standard input.
# The lines between the two marks are the answer; what a noisy rc file prints stays outside them.
# Set before this text: SURVEY_PREFIX, a path that may begin with @HOME@.
# In braces, so that the shell has read all of it before a command of it could read on.
{
LC_ALL=C
export LC_ALL

say() { printf '%s=%s\n' "$1" "$2"; }
has() { command -v "$1" >/dev/null; }
yes_no() { if "$@" >/dev/null; then echo yes; else echo no; fi; }

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
case $SURVEY_PREFIX in
  @HOME@*) SURVEY_PREFIX=$HOME${SURVEY_PREFIX#@HOME@} ;;
esac

echo '<<nbfleet survey 1>>'
say user "$user"
say uid "$uid"
say gid "$(id -g)"
say home "$HOME"
say login_shell "${entry##*:}"
say hostname "$(uname -n)"
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
prefix_python=$(yes_no "$SURVEY_PREFIX/bin/python" -c 'import sys')
if [ "$prefix_python" = no ]; then
  for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 /usr/libexec/platform-python; do
    has "$candidate" || continue
    python=$("$candidate" -c 'import sys; sys.version_info >= (3, 9) and print(sys.executable)')
    [ -z "$python" ] || break
  done
fi
say python "$python"
say prefix_python "$prefix_python"

if [ -d /run/systemd/system ]; then
  say init systemd
else
  say init "$(cat /proc/1/comm)"
fi
XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$uid}
export XDG_RUNTIME_DIR
say user_manager "$(systemctl --user is-system-running)"
say linger "$(yes_no test -e "/var/lib/systemd/linger/$user")"
case $(stat -f -c %T /sys/fs/cgroup) in
  cgroup2fs)
    say cgroup 2
    say cgroup_controllers "$(cat "/sys/fs/cgroup/user.slice/user-$uid.slice/user@$uid.service/cgroup.controllers")"
    ;;
  *) say cgroup 1 ;;
esac
echo '<<end of nbfleet survey>>'
} </dev/null 2>/dev/null
