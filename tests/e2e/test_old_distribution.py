"""A Debian 11: its glibc is older than the lab's distribution needs, and its only Python is too old for Ansible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machines import made_lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machines import Lab

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
ACCOUNT = "robert-node11"


@pytest.fixture(scope="module")
def old() -> Iterator[Lab]:
    with made_lab("old") as lab:
        lab.bare("node11", "robert")
        yield lab


def test_it_is_surveyed_and_refused_for_its_glibc_before_anything_is_touched(old: Lab) -> None:
    seen = old.said(ACCOUNT, ". /etc/os-release; echo $VERSION_ID; command -v python3 || python2 -c 'print(2)'")
    assert seen.split() == ["11", "2"]
    before = old.prepared("node11", "fingerprint.sh", "robert")
    # What is known of the vendor's Miniconda is less than the lab's needs, as its installer says then by itself.
    needs = ("-e", "miniconda_minimum_glibc=2.36")
    looked = old.nbfleet("doctor", "-i", str(old.inventory), ACCOUNT, *needs, "--json")
    assert looked.code == 5, looked.out
    (account,) = looked.answer["data"]["accounts"]
    assert [one["check"] for one in account["checks"] if one["level"] == "fail"] == ["libc"], account
    for run in (
        old.playbook("site", "--limit", ACCOUNT, "--check", *needs),
        old.playbook("site", "--limit", ACCOUNT),
        old.nbfleet("up", "-i", str(old.inventory), ACCOUNT, *needs),
    ):
        assert run.code != 0
        assert "the system has glibc 2.31, Miniconda" in " ".join((run.out + run.err).split())
    assert old.prepared("node11", "fingerprint.sh", "robert") == before
    assert old.root("node11", "test -e /var/lib/systemd/linger/robert").code == 1
