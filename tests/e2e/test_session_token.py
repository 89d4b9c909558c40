"""The session keeper's own look at the token file, on a machine without systemd: what is none starts no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from accounts import told, up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machines import Lab

pytestmark = pytest.mark.sampled("worlds", keep=5, by="file")
ACCOUNT, MACHINE, USER = "rita-plain13", "plain13", "rita"
TOKEN = ".config/nbfleet/token"  # noqa: S105 - its place


@pytest.fixture(scope="module")
def plain(lab: Lab) -> Iterator[Lab]:
    """The lab with that account provisioned."""
    yield up(lab, ACCOUNT)
    done = lab.nbfleet("remove", "-i", str(lab.inventory), ACCOUNT, "--yes", "--json")
    assert done.code == 0, done.out + done.err


@pytest.mark.parametrize("damage", [f": >{TOKEN}", f"echo >>{TOKEN}"], ids=["empty", "a newline more"])
def test_a_token_file_that_is_none_starts_no_server(plain: Lab, damage: str) -> None:
    found = told(plain, ACCOUNT)
    assert (found["keeper"], found["state"]) == ("session", "active")
    assert plain.as_user(MACHINE, USER, f"cp -p {TOKEN} kept && {damage}").code == 0
    stopped = plain.as_user(MACHINE, USER, ".config/nbfleet/session stop")
    assert stopped.code == 0, stopped.err
    begun = "grep -c 'Jupyter Server .* is running' .config/nbfleet/jupyter.log"
    before = plain.as_user(MACHINE, USER, begun).out
    assert int(before) > 0
    try:
        refused = plain.nbfleet("restart", ACCOUNT, "--json")
        after = plain.as_user(MACHINE, USER, begun).out
    finally:
        plain.as_user(MACHINE, USER, f"mv kept {TOKEN}")
    assert refused.code == 5, refused.out
    assert "the token file is not 64 characters long" in refused.answer["error"]["message"]
    assert after == before  # no server has begun
    assert plain.root(MACHINE, f"pgrep -u {USER} -f '[j]upyter-notebook'").code == 1
    done = plain.nbfleet("restart", ACCOUNT, "--json")
    assert done.code == 0, done.out
