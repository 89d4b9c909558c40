#!/bin/sh
# An OpenSSH client of the version in $OLD_SSH (5.3, 6.6 or 7.2): refuses what that one did not know, with its words,
# and is the installed ssh in everything else.
real=/usr/bin/ssh
before() { # VERSION: whether this client is older
  [ "$(printf '%s\n%s\n' "$1" "$OLD_SSH" | sort -V | head -n 1)" != "$1" ]
}
refuse() {
  echo "$1" >&2
  exit 255
}
setting() { # WHERE, KEY, REST
  word=$(echo "$2" | tr '[:upper:]' '[:lower:]')
  case $word in
    proxyjump | include) since=7.3 ;;
    controlpersist) since=5.6 ;;
    *) since=0 ;;
  esac
  ! before "$since" || refuse "$1: Bad configuration option: $2"
  case $word,$3 in *path,*%C*) ! before 6.7 || refuse 'percent_expand: unknown key %C' ;; esac
}
option() { # KEY=VALUE
  setting 'command-line: line 0' "${1%%[= ]*}" "${1#*[= ]}"
}
file=
order=
for word in "$@"; do
  case $order in
    o) option "$word" ;;
    F) file=$word ;;
    O) case $word in forward | cancel) ! before 6.0 || refuse 'Invalid multiplex command.' ;; esac ;;
    L) case $word in *:/*) ! before 6.7 || refuse "Bad local forwarding specification '$word'" ;; esac ;;
  esac
  [ -z "$order" ] || { order=; continue; }
  case $word in
    -V) refuse "OpenSSH_${OLD_SSH}p1, OpenSSL 1.0.1e-fips 11 Feb 2013" ;;
    -J) ! before 7.3 || refuse 'ssh: illegal option -- J' ;;
    -G) ! before 6.8 || refuse 'ssh: illegal option -- G' ;;
    -W) ! before 5.4 || refuse 'ssh: illegal option -- W' ;;
    -o?*) option "${word#-o}" ;;
    -- | [!-]*) break ;;
  esac
  case $word in -[beilmopwBDEFILOQRSWJc]) order=${word#-} ;; esac
done
case $file in
  none) ! before 7.0 || refuse "Can't open user config file none: No such file or directory" ;;
  ?*)
    while read -r key rest; do
      setting "$file: line 1" "$key" "$rest"
    done <"$file"
    ;;
esac
exec "$real" "$@"
