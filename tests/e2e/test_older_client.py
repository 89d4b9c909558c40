"""Every verb with an ssh that knows neither -J nor -W nor %C: two nested forwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from accounts import remove, up

from tests.machines import ROOT, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.sampled("worlds")
NODE = "robert-node12"
BARE = "tim-node12"


@pytest.fixture
def old(provisioned: Lab, tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "ssh").symlink_to(ROOT / "tests" / "unit" / "old_ssh.sh")
    path = f"{tmp_path}:{provisioned.environment['PATH']}"
    with provisioned.apart(PATH=path, OLD_SSH="5.3") as lab:
        assert "OpenSSH_5.3" in lab.run("ssh", "-V").err
        yield lab


def test_every_verb_works_over_two_nested_forwards(old: Lab) -> None:
    words = old.spot("robert", "node12")
    for name, arguments in ((words[0], words), (NODE, ["-i", str(old.inventory), NODE])):
        done = old.nbfleet("up", *arguments, "--json")
        assert done.code == 0, done.out + done.err
        assert [account["changed"] for account in done.answer["data"]["accounts"]] == [0]
        opened = old.nbfleet("connect", name, "--background", "--no-browser", "--json")
        assert opened.code == 0, opened.out + opened.err
        status = old.nbfleet("status", name, "--json")
        assert status.answer["data"]["accounts"][0]["url"] == opened.answer["data"]["url"].partition("?")[0]
        assert "Jupyter Server" in old.nbfleet("logs", name, "-n", "500").out
        assert old.nbfleet("disconnect", name, "--json").answer["data"] == {"disconnected": [name]}


def test_a_bare_account_is_provisioned_looked_at_restarted_and_removed_over_them(old: Lab) -> None:
    old.bare("node12", "tim")
    up(old, BARE)
    looked = old.nbfleet("doctor", "-i", str(old.inventory), BARE, "--json")
    assert looked.code == 0, looked.out + looked.err
    (account,) = looked.answer["data"]["accounts"]
    assert "has nothing to do" in [line["says"] for line in account["checks"] if line["check"] == "up"]
    restarted = old.nbfleet("restart", BARE, "--json")
    assert restarted.code == 0, restarted.out + restarted.err
    remove(old, BARE)
    assert old.root("node12", "ls -d ~tim/miniconda3 ~tim/.config/nbfleet ~tim/.local/state/nbfleet").out == ""
    assert old.root("node12", "pgrep -u tim -f jupyter").out == ""
