"""A bastion that takes a key and then asks: once, and never without a terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest
import yaml

from tests.machines import ROOT, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.sampled("worlds")
USER, PASSWORD = "clara", "a horse on the bastion"
NODE = "robert-node12"


@pytest.fixture
def asking(provisioned: Lab) -> Iterator[tuple[Lab, list[str]]]:
    """The lab with no connection open, and the words that lead over the asking account of its bastion."""
    machines = json.loads((provisioned.directory / "lab.json").read_text())["machines"]
    bastion = next(machine for machine in machines if machine["role"] == "bastion")
    script = Path(__file__).with_name("second_factor.sh").read_text()
    made = provisioned.run("podman", "exec", bastion["container"], "sh", "-c", script, "sh", USER, PASSWORD)
    assert made.code == 0, made.err
    words = provisioned.spot("robert", "node12", jump=f"{USER}@{bastion['addresses']['outer']}:{bastion['port']}")
    with provisioned.apart() as lab:
        yield lab, words


def at_terminal(lab: Lab, *words: str) -> tuple[str, int]:
    """Run the driver at a terminal, answer what it asks, and return what was shown and how often it asked."""
    command = ["-m", "nbfleet", *words]
    child = pexpect.spawn(sys.executable, command, cwd=ROOT, env=lab.environment, encoding="utf-8", timeout=300)
    shown, asked = "", 0
    while child.expect(["(?i)password: ?", pexpect.EOF]) == 0:
        asked += 1
        shown += child.before or ""
        assert asked < 4, shown
        child.sendline(PASSWORD)
    shown += child.before or ""
    child.close()
    assert child.exitstatus == 0, shown
    return shown, asked


def test_it_is_asked_once_and_all_that_follows_uses_that_connection(asking: tuple[Lab, list[str]]) -> None:
    lab, words = asking
    asked = [
        at_terminal(lab, *verb)[1]
        for verb in (
            ("up", *words),
            ("connect", words[0], "--background", "--no-browser"),
            ("status", words[0]),
            ("logs", words[0]),
        )
    ]
    assert asked == [1, 0, 0, 0]
    told = lab.nbfleet("status", words[0], "--json").answer["data"]["accounts"]  # nor is a terminal needed any more
    assert told[0]["answers"] is True


def test_an_inventory_s_bastion_is_answered_as_well(asking: tuple[Lab, list[str]], tmp_path: Path) -> None:
    lab, words = asking
    accounts = yaml.safe_load(lab.inventory.read_text())
    accounts["accounts"]["vars"]["bastion"] = words[2]
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump(accounts))
    shown, asked = at_terminal(lab, "up", "-i", str(inventory), NODE)
    assert asked == 1, shown


def test_without_a_terminal_it_is_one_sentence_that_names_the_hop_and_what_it_wants(
    asking: tuple[Lab, list[str]],
) -> None:
    lab, words = asking
    done = lab.nbfleet("up", *words, "--json")
    assert done.code == done.answer["exit_code"] == 4
    message = done.answer["error"]["message"]
    wants = "asks for a password or a second factor (keyboard-interactive)"
    assert message == f"{words[2]}, on the way to {words[0]}, {wants}."
    assert PASSWORD not in done.out + done.err
