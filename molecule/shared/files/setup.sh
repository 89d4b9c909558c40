# Makes a freshly booted container a machine of the lab; runs in it as root, as often as wanted.
#
# LAB_USERS "name:shell …", LAB_KEY the public key that may log in, LAB_SSHD sshd's settings,
# LAB_SHARED those of them whose home other machines have, too,
# LAB_ADMIN the user who may become any other, or "", LAB_TARGETS "name:shell …" of those who cannot log in,
# LAB_SERVE the port of the web server on the machine that has one instead of sshd, else "".
# Prints "changed" if anything was done, and last the public host key (the machine's name where there is no sshd).
set -eu
changed=
restart=
write() { # FILE: standard input becomes its content; status 1 if it was already
  content=$(cat; echo .)
  if [ -e "$1" ] && [ "$(cat "$1"; echo .)" = "$content" ]; then
    return 1
  fi
  printf %s "${content%.}" >"$1"
  changed=yes
}
if [ -n "$LAB_SERVE" ]; then
  if write /etc/systemd/system/channel.service <<UNIT
[Unit]
Description=The stand-in distribution over http
[Service]
ExecStart=/usr/bin/python3 /opt/channel.py $LAB_SERVE
User=nobody
Restart=always
[Install]
WantedBy=multi-user.target
UNIT
  then
    systemctl daemon-reload
    systemctl --quiet enable channel.service
    systemctl restart channel.service
  fi
  [ -z "$changed" ] || echo changed
  hostname
  exit
fi
number=2000
account() { # NAME:SHELL
  user=${1%%:*} home=/home/${1%%:*} same=
  case " $LAB_SHARED " in *" $user "*) number=$((number + 1)) same="--uid $number --user-group" ;; esac
  if ! id "$user" >/dev/null 2>&1; then
    # shellcheck disable=SC2086 # words
    useradd --create-home $same --shell "${1#*:}" "$user"
    if [ -n "$same" ] && [ -z "$(ls -A "$home")" ]; then
      cp -a /etc/skel/. "$home/"
      chown -R "$user:$user" "$home"
    fi
    # '*' and not '!': no password, but no locked account either.
    usermod --password '*' "$user"
    chmod 0750 "$home"
    changed=yes
  fi
}
for entry in $LAB_USERS; do
  account "$entry"
  install -d -o "$user" -g "$user" -m 0700 "$home/.ssh"
  if write "$home/.ssh/authorized_keys" <<KEY
$LAB_KEY
KEY
  then
    chown "$user:$user" "$home/.ssh/authorized_keys"
    chmod 0600 "$home/.ssh/authorized_keys"
  fi
done
for entry in $LAB_TARGETS; do account "$entry"; done
if [ -n "$LAB_ADMIN" ] && write /etc/sudoers.d/lab <<RULE
$LAB_ADMIN ALL=(ALL) NOPASSWD: ALL
RULE
then
  chmod 0440 /etc/sudoers.d/lab
fi
key=/etc/ssh/ssh_host_ed25519_key
if [ ! -s "$key" ] || [ ! -s "$key.pub" ]; then
  rm -f /etc/ssh/ssh_host_*
  ssh-keygen -q -t ed25519 -N '' -C "$(hostname)" -f "$key"
  changed=yes restart=yes
fi
settings=$LAB_SSHD
# Where sshd punishes an address for failed logins (since 9.8), a test of refusals would shut out the bastion.
if sshd -T 2>/dev/null | grep -qi '^persourcepenalties'; then
  settings="$settings
PerSourcePenalties no"
fi
if write /etc/ssh/sshd_config.d/lab.conf <<SETTINGS
$settings
SETTINGS
then
  restart=yes
fi
if [ ! -d /run/systemd/system ]; then
  if [ -n "$restart" ] || ! pgrep -x sshd >/dev/null; then
    pkill -x sshd || :
    /usr/sbin/sshd
    changed=yes
  fi
  [ -z "$changed" ] || echo changed
  cat "$key.pub"
  exit
fi
systemctl is-enabled --quiet ssh.service || systemctl --quiet enable ssh.service
if [ -n "$restart" ] || ! systemctl is-active --quiet ssh.service; then
  systemctl restart ssh.service
  changed=yes
fi
[ -z "$changed" ] || echo changed
cat "$key.pub"
