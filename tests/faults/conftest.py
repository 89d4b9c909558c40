"""Accounts that faults are done to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.scene import Account

if TYPE_CHECKING:
    from tests.machines import Lab


@pytest.fixture(scope="session")
def account(provisioned: Lab) -> Account:
    """An account with a running Jupyter."""
    made = Account(provisioned, "robert-node12")
    made.live_in()
    return made


@pytest.fixture
def bare(lab: Lab) -> Account:
    """An account with what its user made, and nothing of nbfleet."""
    made = Account(lab, "zoe-node12")
    made.make_bare()
    return made
