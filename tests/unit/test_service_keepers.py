"""What a keeper decides, from what its manager says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from role_code import load_shared

if TYPE_CHECKING:
    from pathlib import Path

keeper, keeper_user = load_shared("keeper"), load_shared("keeper_user")
RUNNING = {"ActiveState": "active", "UnitFileState": "enabled"}


class Unit(keeper_user.UserUnit):  # type: ignore[misc, name-defined] # loaded as Ansible loads it
    """A user unit of which systemd says what the test says."""

    said: dict[str, str]
    lingers: bool

    @property
    def _lingers(self) -> bool:
        return self.lingers

    def _unit(self) -> dict[str, str]:
        return self.said


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "linger"


def unit(record: Path, said: dict[str, str], *, lingers: bool = True) -> Unit:
    Unit.said, Unit.lingers = said, lingers
    return Unit("nbfleet-jupyter.service", linger=True, linger_record=record, seconds=5)


def needed(unit: Unit, *, stale: bool = False) -> list[str]:
    steps: list[str] = unit.needed(stale=stale, restart=False)
    return steps


def test_a_running_service_of_the_present_files_is_left_alone(record: Path) -> None:
    assert needed(unit(record, RUNNING)) == []


def test_a_bare_account_needs_everything_in_this_order(record: Path) -> None:
    assert needed(unit(record, {}, lingers=False)) == ["linger", "enable", "start"]


def test_a_service_started_from_other_files_is_restarted(record: Path) -> None:
    assert needed(unit(record, RUNNING), stale=True) == ["restart"]


def test_a_service_that_is_being_started_from_earlier_files_is_begun_anew(record: Path) -> None:
    assert needed(unit(record, {**RUNNING, "ActiveState": "activating"})) == ["restart"]


@pytest.mark.parametrize("state", ["inactive", "failed", "deactivating"])
def test_a_service_that_is_not_up_is_started(record: Path, state: str) -> None:
    assert needed(unit(record, {**RUNNING, "ActiveState": state}), stale=True) == ["start"]


def test_lingering_of_another_hand_stays_at_removal(record: Path) -> None:
    assert unit(record, {**RUNNING, "FragmentPath": "/u"}).removable() == ["stop", "disable", "forget"]
    record.touch()
    assert unit(record, {}).removable() == ["unlinger"]


def test_another_content_is_another_fingerprint(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("ab")
    first = keeper.fingerprint([str(one), str(two)])
    one.write_text("a")
    two.write_text("b")
    assert keeper.fingerprint([str(one), str(two)]) != first


def test_the_reason_of_a_failure_is_its_last_error() -> None:
    journal = [
        "Traceback (most recent call last):",
        "RuntimeError: my mistake",
        "[C 2026-11-22 23:06:52.853 ServerApp] ERROR: the port is not available.",
        "[I 2026-11-22 23:06:52.956 ServerApp] Shutting down 6 extensions",
    ]
    assert keeper.telling(journal) == "ERROR: the port is not available"
    assert keeper.telling(journal[:2]) == "RuntimeError: my mistake"
    gate = "Jupyter could not read its configuration"
    assert keeper.telling([gate, *journal[3:]]) == gate
    assert keeper.telling(["one", "two"]) == "two"
    socket = "[W 2026-11-23 16:23:15.534 ServerApp] The socket /run/user/1/nbfleet/jupyter.sock is already in use."
    assert keeper.telling([socket, *journal]).startswith("another program listens at /run/user/1/nbfleet/jupyter.sock;")
