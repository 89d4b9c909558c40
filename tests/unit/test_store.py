"""store.py: what is remembered, and how privately."""

from __future__ import annotations

import multiprocessing
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from nbfleet.endpoint import Endpoint
from nbfleet.errors import SetupError
from nbfleet.store import Store, default_root
from test_endpoint import HANDOVER

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

ENDPOINT = Endpoint.from_json(HANDOVER)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def test_an_endpoint_is_kept_privately(store: Store) -> None:
    store.save(ENDPOINT)
    (path,) = (store.root / "endpoints").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert store.get("robert-pc") == ENDPOINT


def test_the_local_port_survives_another_up(store: Store) -> None:
    store.save(ENDPOINT)
    store.remember_port("robert-pc", 43210)
    store.save(replace(ENDPOINT, hostname="other"))
    assert store.last_port("robert-pc") == 43210


def test_an_unknown_account_is_told_what_to_run(store: Store) -> None:
    with pytest.raises(SetupError, match="nobody is not known here") as caught:
        store.get("nobody")
    assert "nbfleet up nobody first" in caught.value.hint


@pytest.mark.parametrize("name", ["robert@remote.example.org", "robert@[fe80::1]:2222", "a/../b", "ä b"])
def test_any_name_makes_one_file_and_comes_back(store: Store, name: str) -> None:
    store.save(replace(ENDPOINT, name=name))
    assert store.names() == [name]
    assert [path.parent for path in store.root.rglob("*.json")] == [store.root / "endpoints"]


def test_patterns_choose_and_a_plain_unknown_name_is_an_error(store: Store) -> None:
    for name in ("a1", "a2", "b1"):
        store.save(replace(ENDPOINT, name=name))
    assert [endpoint.name for endpoint in store.find(["a*"])] == ["a1", "a2"]
    assert len(store.find([])) == 3
    with pytest.raises(SetupError):
        store.find(["a1", "c1"])


def hold(root: Path, pipe: Connection) -> None:
    with Store(root).session("robert-pc", {"local_port": 1234}) as mine:
        pipe.send(mine)
        pipe.recv()


def test_a_session_lives_as_long_as_its_process(store: Store) -> None:
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=hold, args=(store.root, there))
    child.start()
    assert here.recv() is True
    session = store.open_session("robert-pc")
    assert session is not None
    assert (session["pid"], session["local_port"]) == (child.pid, 1234)
    with store.session("robert-pc", {}) as mine:
        assert not mine
    child.kill()
    child.join()
    assert store.open_session("robert-pc") is None
    assert store.sessions() == []


def test_the_state_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NBFLEET_STATE_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "nbfleet"
    monkeypatch.setenv("NBFLEET_STATE_DIR", str(tmp_path / "own"))
    assert default_root() == tmp_path / "own"
