"""What a server may send instead of an installer or a package: it is not used, and said to be what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.faults.scene import told
from tests.machines import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.scene import Account
    from tests.machines import Lab

pytestmark = pytest.mark.sampled("faults")
PORT = "8090"
FAULT = "/tmp/fault"  # noqa: S108 - on the channel's machine
MORE = '{"jupyter_extra_packages": ["bash_kernel"]}'  # no account has it yet


class Channel:
    """The channel's files behind another port, with a fault."""

    def __init__(self, lab: Lab) -> None:
        usual = yaml.safe_load(lab.inventory.read_text())["accounts"]["vars"]["conda_config_channel_alias"]
        self.url = f"{usual.rpartition(':')[0]}:{PORT}"
        self._lab = lab

    def does(self, fault: str, pattern: str) -> None:
        """Let something happen to every path that matches."""
        assert self._lab.root("channel", f"rm -f {FAULT}.stalled; echo '{fault} {pattern}' >{FAULT}").code == 0

    def stalled(self) -> bool:
        """Tell whether something stalls."""
        return self._lab.root("channel", f"test -e {FAULT}.stalled").code == 0

    @property
    def words(self) -> list[str]:
        return ["-e", f"miniconda_base_url={self.url}/miniconda conda_config_channel_alias={self.url}"]


@pytest.fixture(scope="module")
def channel(lab: Lab) -> Iterator[Channel]:
    made = Channel(lab)
    made.does("none", "")
    script = (Path(__file__).parent / "faulty_channel.py").read_text()
    start = f'python3 -c "$1" {PORT} {FAULT} </dev/null >/dev/null 2>&1 & echo $!'
    pid = lab.root("channel", start, script).out.strip()

    def answers() -> bool:
        return lab.root("channel", f"curl -so /dev/null http://localhost:{PORT}/").code == 0

    wait_for("the faulty channel", answers)
    yield made
    lab.root("channel", f"kill {pid}")


INSTALLERS = [
    ("404", "404"),
    ("500", "500"),
    ("page", "is a web page"),
    ("altered", "instead of"),
    ("short", "instead of"),
    ("half", "could not be downloaded"),
]


def test_an_installer_that_is_none_is_not_run(bare: Account, channel: Channel) -> None:
    before = bare.home()
    for fault, words in INSTALLERS:
        channel.does(fault, "Miniconda3")
        told(bare.up(*channel.words), bare.name, words, code=5)
        assert bare.home() == before, fault
        assert bare.root("ls -d miniconda3 .miniconda3.nbfleet 2>/dev/null || :") == "", fault


@pytest.mark.full
def test_a_download_that_stalls_has_an_end(bare: Account, channel: Channel) -> None:
    before = bare.home()
    channel.does("stalls", "Miniconda3")
    told(bare.up(*channel.words), bare.name, "could not be downloaded", code=5)
    assert bare.home() == before
    channel.does("none", "")
    done = bare.site("--tags", "miniconda,conda_config", *channel.words)
    assert done.code == 0, done.out
    channel.does("stalls", "bash_kernel-.*conda$")
    told(bare.up("-e", MORE, *channel.words), bare.name, "bash_kernel", code=5)
    bare.recovers()
    assert bare.lost(before) == []


PACKAGE, INDEX = "bash_kernel-.*conda$", "repodata"


@pytest.mark.sampled("channel")
@pytest.mark.parametrize(
    ("pattern", "fault", "words", "asked"),
    [
        (PACKAGE, "404", "HTTP 404", "bash_kernel"),
        (PACKAGE, "500", "HTTP 500", "bash_kernel"),
        (PACKAGE, "half", "cannot reach", "bash_kernel"),
        (PACKAGE, "altered", "is not what its hash says", "bash_kernel"),
        (PACKAGE, "page", "is not what its hash says", "bash_kernel"),
        # Asked for in other words each time, so that no lock has the answer and the index counts.
        (INDEX, "404", "here is no conda channel at", "bash_kernel!=0.1"),
        (INDEX, "short", "is no index of a channel", "bash_kernel!=0.2"),
        (INDEX, "page", "is no index of a channel", "bash_kernel!=0.3"),
        (INDEX, "half", "IncompleteRead", "bash_kernel!=0.4"),
    ],
)
def test_what_is_no_package_and_no_index_is_not_believed_and_the_next_run_has_it(
    account: Account, channel: Channel, pattern: str, fault: str, words: str, asked: str
) -> None:
    before = account.home()
    there = "ls miniconda3/envs/jupyter/conda-meta/ | grep ^bash_kernel- || :"
    # From another test; without its record it is not there any more.
    account.shell("rm -f miniconda3/envs/jupyter/conda-meta/bash_kernel-*; rm -rf miniconda3/pkgs/bash_kernel-*")
    more = json.dumps({"jupyter_extra_packages": [asked], "conda_config_channel_alias": channel.url})
    channel.does(fault, pattern)
    told(account.up("-e", more), account.name, words, code=5)
    assert account.shell(there) == ""
    channel.does("none", "")
    mended = account.up("-e", more)
    assert mended.code == 0, mended.out + mended.err
    assert account.shell(there)
    account.recovers()
    assert account.lost(before) == []


def test_a_conda_of_the_person_s_own_is_not_disturbed_and_does_not_disturb(bare: Account, channel: Channel) -> None:
    done = bare.site("--tags", "miniconda,conda_config")
    assert done.code == 0, done.out
    before = bare.home()
    channel.does("stalls", "webcolors-.*conda$")
    own = f"CONDA_CHANNEL_ALIAS={channel.url} miniconda3/bin/conda create -y -n mine webcolors"
    bare.shell(f"({own}; echo $? >.own) </dev/null >/dev/null 2>&1 &")
    wait_for("the person's conda to be in the middle of it", channel.stalled)
    bare.recovers()
    assert bare.shell("cat .own 2>/dev/null || echo goes on") == "goes on"
    channel.does("none", "")
    wait_for("the person's conda", lambda: bare.shell("cat .own 2>/dev/null || :") == "0")
    assert bare.shell("ls miniconda3/envs/mine/conda-meta | grep -c ^webcolors-") == "1"
    assert bare.lost(before) == []
