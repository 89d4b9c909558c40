"""Login shells that talk, stumble and stop, and a machine whose Python is broken."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from accounts import open_and_see, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machines import Lab

pytestmark = pytest.mark.sampled("worlds")
# Each account with the file that its shell reads for programs, too.
NOISY = {
    "robert-node13": (".bashrc", "/bin/bash"),
    "zoe-node12": (".zshenv", "/usr/bin/zsh"),
    "tim-node12": (".tcshrc", "/usr/bin/tcsh"),
    "finn-node12": (".config/fish/config.fish", "/usr/bin/fish"),
}
ALL = ",".join(NOISY)
# Said to both outputs, and a command that is not there; and for bash a mistake at which it reads no further.
NOISE = """
mkdir -p "$(dirname "/home/$1/$2")"
mistake=
[ "$2" != .bashrc ] || mistake='if true; then'
{ printf '%s\\n' 'echo good morning' no-such-command "$mistake"; cat "/home/$1/$2" 2>/dev/null; } >/tmp/noise
cat /tmp/noise >"/home/$1/$2"
chown -R "$1:$1" "/home/$1"
"""
BROKEN_PYTHON = """
printf '#!/bin/sh\\necho "Fatal Python error: init_fs_encoding" >&2\\nexit 1\\n' >/usr/bin/python3
chmod 755 /usr/bin/python3
"""


def account_of(name: str) -> tuple[str, str]:
    """Return the machine and the user of an account."""
    user, _, machine = name.rpartition("-")
    return machine, user


@pytest.fixture(scope="module")
def noisy(lab: Lab) -> Iterator[Lab]:
    """Bare accounts that are provisioned past the noise of their shells; on node13 there is a Python that fails."""
    lab.nbfleet("disconnect")
    for name, (file, _) in NOISY.items():
        machine, user = account_of(name)
        lab.bare(machine, user)
        assert lab.root(machine, NOISE, user, file).code == 0
    lab.root("node13", BROKEN_PYTHON)
    done = lab.nbfleet("up", "-i", str(lab.inventory), *NOISY)
    assert done.code == 0, done.out[-4000:] + done.err
    yield lab
    lab.root("node13", "rm /usr/bin/python3")
    for name, (file, _) in NOISY.items():
        machine, user = account_of(name)
        lab.root(machine, 'sed -i "/^echo good morning$/,+2d" "/home/$1/$2"', user, file)


def test_the_noise_is_real(noisy: Lab) -> None:
    for name in NOISY:
        said = noisy.on(name, "true").out
        assert "good morning" in said, name
        assert "no-such-command" in said, name
        assert ("syntax error" in said) is name.startswith("robert"), name
    assert noisy.root("node13", "python3 -c pass").code == 1


def test_a_second_run_changes_nothing_and_the_driver_comes_through(noisy: Lab) -> None:
    again = noisy.playbook("site", "--limit", ALL, "-e", "survey_trust=false")
    assert again.code == 0, again.out[-4000:]
    assert again.out.count("changed=0") == len(NOISY), again.out[-4000:]
    for name in NOISY:
        assert told(noisy, name)["answers"] is True
    for name in ("tim-node12", "robert-node13"):
        open_and_see(noisy, name)
    assert "Jupyter Server" in noisy.nbfleet("logs", "finn-node12", "-n", "500").out


@pytest.mark.parametrize("name", NOISY)
def test_conda_activate_works_at_the_prompt(noisy: Lab, name: str) -> None:
    _, user = account_of(name)
    way = noisy.spot(user, account_of(name)[0])
    typed = "conda activate jupyter\necho in=$CONDA_DEFAULT_ENV\nexit\n"
    words = ["ssh", "-tt", "-F", str(noisy.ssh_config), "-J", way[2], way[0]]
    said = subprocess.run(words, input=typed, capture_output=True, text=True, check=False, timeout=60).stdout
    assert "in=jupyter" in said, said


def test_a_shell_that_ends_before_the_command_is_named_and_nothing_is_touched(lab: Lab) -> None:
    lab.bare("node12", "leo")
    lab.root("node12", "echo 'exit 3' >/tmp/rc; cat /home/leo/.bashrc >>/tmp/rc; cat /tmp/rc >/home/leo/.bashrc")
    before = lab.root("node12", "find /home/leo -type f ! -path '*/.ssh/*' | sort | xargs sha256sum").out
    done = lab.nbfleet("up", "-i", str(lab.inventory), "leo-node12")
    assert done.code != 0
    said = " ".join((done.out + done.err).split())
    assert "leo-node12" in said
    assert "Traceback" not in said
    assert "login shell" in said, said
    assert lab.root("node12", "find /home/leo -type f ! -path '*/.ssh/*' | sort | xargs sha256sum").out == before
    lab.bare("node12", "leo")
