"""Two runs against one account at the same time: neither harms the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.scene import finished, told

if TYPE_CHECKING:
    from tests.faults.scene import Account


pytestmark = pytest.mark.sampled("faults")


def test_of_two_runs_at_once_none_corrupts_what_the_other_makes(bare: Account) -> None:
    before = bare.home()
    with bare.lab.apart() as other:  # as from two computers
        runs = [bare.start(), type(bare)(other, bare.name).start()]
        done = [finished(run) for run in runs]
    for run in done:
        if run.code:
            told(run, bare.name, code=5)
    assert 0 in [run.code for run in done]
    bare.recovers()
    assert bare.lost(before) == []
