"""The doctor: what it says of accounts that stand, that are bare, and that nobody reaches; it changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.machines import Lab

NODE = "robert-node12"
BARE = "zoe-node12"
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


@pytest.fixture
def bare(lab: Lab) -> Lab:
    """The lab, with an account on which nothing is installed."""
    lab.bare("node12", BARE.partition("-")[0])
    return lab


def doctor(lab: Lab, *words: str) -> tuple[int, dict[str, str]]:
    """Return how the doctor ends for the bare account, and what is said of each thing."""
    done = lab.nbfleet("doctor", "-i", str(lab.inventory), BARE, "--json", *words)
    return done.code, lines(done.answer["data"]["accounts"][0])


def test_a_healthy_bare_account_is_told_what_would_be_done(bare: Lab) -> None:
    code, said = doctor(bare)
    assert code == 0, said
    assert {says.partition(":")[0] for says in said.values()} == {"ok"}, said
    assert said["up"] == "ok: would install conda, install Jupyter, and make a service kept by user"
    assert said["forwarding"] == "ok: to a socket there; Jupyter is not there to be tried"
    assert said["python"].endswith("; nbfleet brings its own")
    assert said["python"].startswith("ok: 3.")
    assert said["channel"].endswith("/conda-forge/noarch/repodata.json answers")
    assert said["installer"].endswith("/miniconda answers")
    assert "files (inodes) free at home" in said["space"]


def test_a_channel_that_does_not_answer_is_in_the_way_of_who_needs_it(bare: Lab) -> None:
    nowhere = ("-e", "conda_config_channel_alias=http://127.0.0.1:9")
    code, said = doctor(bare, *nowhere)
    address = "http://127.0.0.1:9/conda-forge/noarch/repodata.json"
    assert (code, said["channel"]) == (5, f"fail: {address} does not answer; set a proxy or a mirror")
    # No lock for such a channel is there, so that the account has to solve.
    code, said = doctor(bare, *nowhere, "-e", "miniconda_source=controller")
    assert (code, said["installer"]) == (5, "ok: not needed: this computer sends the installer")
    assert said["channel"].startswith("fail: ")
    code, said = doctor(bare, *nowhere, "-e", "miniconda_bundle=/nowhere")
    assert (code, said["channel"]) == (0, "ok: not needed: the bundle has the packages")
    code, said = doctor(bare, "-e", json.dumps({"conda_config_channels": ["absent"]}))
    assert code == 5
    assert "/absent/noarch/repodata.json answers 404, nothing is there" in said["channel"]


def test_one_account_with_something_in_its_way_beside_one_without_is_a_code_of_its_own(
    provisioned: Lab, tmp_path: Path
) -> None:
    more = tmp_path / "more.json"
    more.write_text(json.dumps({"accounts": {"hosts": {BARE: {"conda_config_channel_alias": "http://127.0.0.1:9"}}}}))
    words = ["-i", str(provisioned.inventory), "-i", str(more), NODE, BARE]
    done = provisioned.nbfleet("doctor", *words, "--json")
    assert done.code == 7, done.out
    accounts = done.answer["data"]["accounts"]
    assert {account["name"]: account["worst"] for account in accounts} == {NODE: "ok", BARE: "fail"}


def test_a_machine_that_forwards_no_socket_is_a_warning_before_jupyter_is_there(bare: Lab) -> None:
    setting = "/etc/ssh/sshd_config.d/lab-doctor.conf"
    put = bare.root("node12", f"echo 'AllowStreamLocalForwarding no' >{setting} && systemctl reload ssh")
    assert put.code == 0, put.err
    try:
        with bare.apart() as stranger:
            code, said = doctor(stranger)
    finally:
        bare.root("node12", f"rm {setting} && systemctl reload ssh")
    assert code == 0, said
    assert said["forwarding"].startswith("warn: SSH forwards nothing to a socket there (AllowStreamLocalForwarding")
    assert "a session will carry the connections" in said["forwarding"]


def test_a_machine_without_any_python_is_told_so(provisioned: Lab) -> None:
    done = provisioned.nbfleet("doctor", "-i", str(provisioned.inventory), "robert-node13", "--json")
    assert done.code == 0, done.out + done.err
    assert lines(done.answer["data"]["accounts"][0])["python"] == "ok: none; nbfleet has brought its own"


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
