# Gives a bare account what people leave in theirs; runs as root with the user's name as $1.
set -eu
cd "/home/$1"
mkdir -p dotfiles work .config/other
mv .bashrc dotfiles/bashrc
ln -s dotfiles/bashrc .bashrc
cat >>dotfiles/bashrc <<'RC'

# added by Miniconda3 4.2.12 installer
export PATH="/old/miniconda3/bin:$PATH"
RC
printf 'alias ll="ls -l" # no end of line' >>dotfiles/bashrc
chmod 0640 dotfiles/bashrc
echo mine >.config/other/settings
printf '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}\n' >work/mine.ipynb
chown -R "$1:$1" .
