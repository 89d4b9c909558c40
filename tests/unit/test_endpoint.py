"""endpoint.py: the hand-over's shape, and what is made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nbfleet.endpoint import Endpoint
from nbfleet.errors import SetupError

HANDOVER: dict[str, Any] = {
    "version": 1,
    "name": "robert-pc",
    "ssh": {
        "host": "remote.example.org",
        "user": "robert",
        "port": None,
        "key": None,
        "args": "-J bianca@bastion",
        "become": None,
    },
    "home": "/home/robert",
    "user": "robert",
    "hostname": "remote",
    "uid": 1001,
    "listen": "socket",
    "socket": "/run/user/1001/nbfleet/jupyter.sock",
    "port": None,
    "base_url": "/robert-remote/",
    "token_file": "/home/robert/.config/nbfleet/token",
    "keeper": "systemd-user",
    "unit": "nbfleet-jupyter.service",
    "root_dir": "/home/robert",
}


def test_a_hand_over_survives_the_store_word_for_word() -> None:
    assert json.loads(json.dumps(Endpoint.from_json(HANDOVER).to_json())) == HANDOVER


def test_numbers_may_come_as_text_from_a_template() -> None:
    ssh = {**HANDOVER["ssh"], "port": "2222"}
    endpoint = Endpoint.from_json({**HANDOVER, "uid": "1001", "listen": "tcp", "port": "8888", "ssh": ssh})
    assert (endpoint.uid, endpoint.port, endpoint.ssh.port) == (1001, 8888, 2222)


def test_another_version_is_refused_with_both_numbers() -> None:
    with pytest.raises(SetupError, match="version 2, this driver knows version 1"):
        Endpoint.from_json({**HANDOVER, "version": 2})


def test_an_incomplete_hand_over_names_what_is_missing() -> None:
    with pytest.raises(SetupError, match="token_file"):
        Endpoint.from_json({key: value for key, value in HANDOVER.items() if key != "token_file"})


def test_the_forward_ends_at_the_socket_or_at_the_far_loopback() -> None:
    assert Endpoint.from_json(HANDOVER).destination == "/run/user/1001/nbfleet/jupyter.sock"
    tcp = Endpoint.from_json({**HANDOVER, "listen": "tcp", "port": 8888, "socket": None})
    assert tcp.destination == "127.0.0.1:8888"


def test_the_address_has_a_token_only_when_asked() -> None:
    endpoint = Endpoint.from_json(HANDOVER)
    assert endpoint.url(8000) == "http://127.0.0.1:8000/robert-remote/"
    assert endpoint.url(8000, token="ab") == "http://127.0.0.1:8000/robert-remote/?token=ab"  # noqa: S106


def test_an_admin_s_commands_are_run_by_the_account_s_user_and_leave_the_admin_s_session() -> None:
    reach = Endpoint.from_json({**HANDOVER, "ssh": {**HANDOVER["ssh"], "user": "ada", "become": "max"}}).ssh
    assert reach.identity[:5] == ["sudo", "-n", "-H", "-u", "max"]
    assert "XDG_RUNTIME_DIR" in reach.identity
    assert Endpoint.from_json(HANDOVER).ssh.identity == []


def test_a_hand_over_of_before_there_were_admins_is_read() -> None:
    ssh = {key: value for key, value in HANDOVER["ssh"].items() if key != "become"}
    assert Endpoint.from_json({**HANDOVER, "ssh": ssh}).ssh.become is None
