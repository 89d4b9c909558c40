"""Some machines of many are in a bad way: the others are done, and each bad one is named with its reason."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.faults.scene import Account

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.machines import Lab

pytestmark = pytest.mark.sampled("faults")
GOOD, FULL, REFUSING, CHANGED, DEAD = "robert-node12", "zoe-node12", "tim-node12", "robert-node13", "ida-gone"
CROWD = """
for number in $(seq "$1"); do
  useradd --create-home "crowd$number" && usermod --password '*' "crowd$number"
  cp -a ~robert/.ssh "/home/crowd$number/" && chown -R "crowd$number:" "/home/crowd$number/.ssh"
done
echo 'AllowUsers crowd*' >/etc/ssh/sshd_config.d/crowd.conf && systemctl reload ssh
"""
GONE = "rm /etc/ssh/sshd_config.d/crowd.conf; systemctl reload ssh"

FINGERPRINT = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d ' ' -f 2"


@pytest.fixture(params=[0, pytest.param(15, marks=[pytest.mark.full, pytest.mark.timeout(1800)])])
def crowd(lab: Lab, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Users more on a machine, with the same key."""
    made = lab.root("node12", CROWD, str(request.param))
    assert made.code == 0, made.err
    users = [f"crowd{number + 1}" for number in range(request.param)]
    yield users
    for user in users:
        lab.bare("node12", user)  # with its processes
        lab.root("node12", f"userdel --remove {user}")
    lab.root("node12", GONE)


@pytest.fixture
def inventory(lab: Lab, crowd: list[str], tmp_path: Path) -> Path:
    """The lab's inventory with a machine more, which is not there, and another key known for one that is."""
    told = yaml.safe_load(lab.inventory.read_text())
    accounts = told["accounts"]
    node12, node13 = (accounts["children"][name]["vars"]["ansible_host"] for name in ("node12", "node13"))
    known = (lab.directory / "known_hosts").read_text()
    key = next(line.split(" ", 1)[1] for line in known.splitlines() if node12 in line)
    (tmp_path / "known_hosts").write_text(
        re.sub(rf"^(\S*{re.escape(node13)}\S*) .*$", rf"\1 {key}", known, flags=re.MULTILINE)
    )
    config = lab.ssh_config.read_text().replace(str(lab.directory / "known_hosts"), str(tmp_path / "known_hosts"))
    (tmp_path / "ssh_config").write_text(config)
    common = accounts["vars"]["ansible_ssh_common_args"].replace(str(lab.ssh_config), str(tmp_path / "ssh_config"))
    accounts["vars"]["ansible_ssh_common_args"] = common
    accounts["children"]["node12"]["hosts"] |= {f"{user}-node12": {"ansible_user": user} for user in crowd}
    # An address of the bastion's own network that nobody has.
    gone = ".".join([*node12.split(".")[:3], str(int(node12.split(".")[3]) + 20)])
    accounts["children"]["gone"] = {"vars": {"ansible_host": gone}, "hosts": {DEAD: {"ansible_user": "ida"}}}
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump(told))
    return path


def test_the_others_are_done_and_each_bad_one_is_named_with_its_reason(
    provisioned: Lab, crowd: list[str], inventory: Path
) -> None:
    full, refusing = Account(provisioned, FULL), Account(provisioned, REFUSING)
    full.make_bare()
    before = full.home()
    full.root("mkdir miniconda3 && mount -t tmpfs -o size=20m,mode=0755,uid=$(id -u zoe) tmpfs miniconda3")
    refusing.root("mv .ssh/authorized_keys .ssh/none")
    try:
        good = [GOOD, *(f"{user}-node12" for user in crowd)]
        names = [*good, FULL, REFUSING, CHANGED, DEAD]
        with provisioned.apart() as lab:
            done = lab.nbfleet("up", "-i", str(inventory), *names, "--json")
            shown = lab.nbfleet("up", "-i", str(inventory), *names)
    finally:
        refusing.root("mv .ssh/none .ssh/authorized_keys")
        full.root("umount miniconda3 && rmdir miniconda3")
    assert done.code == shown.code == 7, done.out + done.err
    assert "Traceback" not in done.out + done.err + shown.out + shown.err
    told = {account["name"]: account for account in done.answer["data"]["accounts"]}
    assert {told[name]["state"] for name in good} == {"done"}, told
    node12, node13 = (provisioned.root(name, FINGERPRINT).out.strip() for name in ("node12", "node13"))
    changed = f"another host key than the one known here (known: {node12}, sent: {node13})"
    reasons = {FULL: "MB are free", REFUSING: "does not accept the key", CHANGED: changed, DEAD: ""}
    for name, words in reasons.items():
        assert told[name]["state"] in ("failed", "unreachable"), told[name]
        assert words in told[name]["message"], told[name]
        assert told[name]["hint"]
        # The summary for people has a line for each, with the same reason.
        (line,) = (line for line in shown.out.splitlines() if line.startswith(name))
        assert words in line
    assert told[DEAD]["reason"] in ("timeout", "no_route", "forward_refused", "jump_failed"), told[DEAD]
    assert full.lost(before) == []
