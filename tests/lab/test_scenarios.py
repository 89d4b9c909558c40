"""The molecule scenarios: the same playbooks by plain ansible-playbook, from a bare account to nothing left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.machines import Lab


@pytest.mark.sampled("scenarios")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scenario", ["default", "variants", "reboot", "remove"])
def test_the_scenario_passes(lab: Lab, scenario: str) -> None:
    # An open forward is a login, and a scenario proves what goes on without one.
    lab.nbfleet("disconnect")
    # The lab outlives the scenario: the session's fixture removes it.
    run = lab.run("molecule", "test", "--scenario-name", scenario, "--destroy", "never", limit=1800)
    assert run.code == 0, run.out[-8000:] + run.err[-4000:]
