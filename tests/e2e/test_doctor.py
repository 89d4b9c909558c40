"""The doctor: what it says of accounts that stand, that are bare, and that nobody reaches; it changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.machines import Lab

NODE = "robert-node12"
LOOK = "find ~robert -path ~robert/.ssh -prune -o -printf '%p %s %m %T@\\n' | sort | sha256sum"


def lines(account: dict[str, Any]) -> dict[str, str]:
    """Return what is said of each thing, its level before it."""
    return {line["check"]: f"{line['level']}: {line['says']}" for line in account["checks"]}


def test_an_account_that_stands_has_nothing_to_do(provisioned: Lab) -> None:
    before = provisioned.root("node12", LOOK).out
    done = provisioned.nbfleet("doctor", "-i", str(provisioned.inventory), NODE, "--json")
    assert done.code == 0, done.out + done.err
    (account,) = done.answer["data"]["accounts"]
    said = lines(account)
    assert said["reached"].startswith("ok: bianca@")
    assert said["forwarding"] == "ok: to Jupyter"
    assert said["keeper"] == "ok: user"
    assert said["up"] == "ok: has nothing to do"
    assert provisioned.root("node12", LOOK).out == before


def test_plain_ansible_tells_the_same(provisioned: Lab) -> None:
    done = provisioned.playbook("doctor", "--limit", NODE)
    assert done.code == 0, done.out
    assert "has nothing to do" in done.out
    assert "changed=0" in done.out


def test_a_noisy_shell_is_a_warning_and_a_machine_that_is_not_there_a_failure(provisioned: Lab) -> None:
    account = "zoe-node12"
    provisioned.root("node12", "echo 'echo hello there' >~zoe/.zshenv")
    try:
        words = ["-i", str(provisioned.inventory), account]
        done = provisioned.nbfleet("doctor", *words, "--json")
    finally:
        provisioned.root("node12", "rm ~zoe/.zshenv")
    assert done.code == 0, done.out + done.err
    noisy = next(one for one in done.answer["data"]["accounts"] if one["name"] == account)
    assert lines(noisy)["shell"] == "warn: /usr/bin/zsh prints to programs: hello there"
    assert noisy["worst"] == "warn"
    lost = provisioned.nbfleet("doctor", "-i", str(provisioned.inventory), NODE, "-e", "ansible_port=9", "--json")
    assert lost.code == 4, lost.out
    assert lost.answer["data"]["accounts"][0]["checks"][0]["check"] == "reached"
