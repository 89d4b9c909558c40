# shellcheck shell=sh
# Process 1 of a machine without systemd: starts what is there for people, and buries what loses its parent.
trap exit TERM INT
mkdir -p /run/sshd /run/lock
# Before the lab has made its key and its accounts, sshd is not wanted.
[ ! -s /etc/ssh/ssh_host_ed25519_key ] || /usr/sbin/sshd
cron
while :; do
  sleep 3600 &
  wait $!
done
