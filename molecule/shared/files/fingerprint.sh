# Prints one line for each thing in the home of user $1: mode, owner, size, link target, content; runs as root.
# ~/.ansible is Ansible's own scratch folder, ~/.ssh the lab's way in, ~/.cache anybody's.
set -eu
cd "/home/$1"
find . -mindepth 1 \( -path ./.ansible -o -path ./.ssh -o -path ./.cache \) -prune -o -printf '%P %y %m %u %l\n' | sort
find . \( -path ./.ansible -o -path ./.ssh -o -path ./.cache \) -prune -o -type f -exec sha256sum {} + | sort -k 2
[ ! -e "/var/lib/systemd/linger/$1" ] || echo linger
