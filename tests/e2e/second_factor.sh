#!/bin/sh
# Makes an account on the bastion that takes a key and then asks PAM for the password; $1 is its name, $2 the password.
set -eu
id "$1" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$1"
echo "$1:$2" | chpasswd
install -d -o "$1" -g "$1" -m 0700 "/home/$1/.ssh"
install -o "$1" -g "$1" -m 0600 /home/bianca/.ssh/authorized_keys "/home/$1/.ssh/authorized_keys"
cat >/etc/ssh/sshd_config.d/second_factor.conf <<SETTINGS
AllowUsers $1
Match User $1
  KbdInteractiveAuthentication yes
  AuthenticationMethods publickey,keyboard-interactive
SETTINGS
systemctl reload ssh.service
