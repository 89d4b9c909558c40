"""converge.py and fleet.py with a real ansible-playbook on this computer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from nbfleet import content, converge, fleet, options
from nbfleet.errors import SetupError, UsageError
from nbfleet.options import Options
from nbfleet.store import Store
from test_endpoint import HANDOVER

if TYPE_CHECKING:
    from nbfleet.progress import Account, Event

SECRET = "s3cret-of-a-test"  # noqa: S105 - a planted one


class Quiet:
    """Listens and says nothing."""

    def task(self, account: Account, *, ended: bool) -> None: ...

    def event(self, data: Event) -> None: ...

    def words(self, text: str) -> None: ...


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.json"
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    path.write_text(json.dumps({"all": {"hosts": {"a": local, "b": local}}}))
    return path


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A playbook that stands in for the site; its tasks are written by the test."""
    path = tmp_path / "site.yml"
    monkeypatch.setattr(content, "playbook", lambda _name: path)
    return path


def write(path: Path, *tasks: dict[str, Any]) -> None:
    path.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": list(tasks)}]))


def test_accounts_and_endpoints_come_back(inventory: Path, book: Path) -> None:
    module = book.parent / "library" / "tell.sh"
    module.parent.mkdir()
    told = json.dumps({"handover": {**HANDOVER, "name": "NAME"}})
    module.write_text(f'#!/bin/sh\n. "$1"\necho \'{told}\' | sed "s/NAME/$name/"\n')
    write(book, {"tell": {"name": "{{ inventory_hostname }}"}})
    run = converge.converge(inventory, "site", Options(), watch=Quiet())
    assert [(account.name, account.state) for account in run.accounts] == [("a", "done"), ("b", "done")]
    assert [endpoint.name for endpoint in run.endpoints] == ["a", "b"]


def test_one_that_fails_does_not_take_the_other_with_it(inventory: Path, book: Path) -> None:
    write(book, {"name": "Refuse", "ansible.builtin.fail": {"msg": "Too old."}, "when": "inventory_hostname == 'b'"})
    run = converge.converge(inventory, "site", Options(), watch=Quiet())
    assert [account.state for account in run.accounts] == ["done", "failed"]
    assert run.accounts[1].sentence == "b failed at “Refuse”: Too old."


def test_host_keys_are_checked_and_extra_variables_are_in_no_argv(inventory: Path, book: Path) -> None:
    look = "{{ lookup('ansible.builtin.env', 'ANSIBLE_HOST_KEY_CHECKING') }} {{ word }} {{ more }}"
    argv = "{{ lookup('ansible.builtin.pipe', 'cat /proc/*/cmdline | tr -d \\\\000') }}"
    that = [f"look == 'True {SECRET} x'", f"'{SECRET}' not in argv", "'-e@' in argv"]
    write(book, {"ansible.builtin.assert": {"that": that, "quiet": True}, "vars": {"look": look, "argv": argv}})
    given = Options(extra_vars=[f"word={SECRET} more=x"])
    run = converge.converge(inventory, "site", given, watch=Quiet())
    assert [account.sentence for account in run.accounts] == ["", ""]


def test_nothing_of_a_run_stays(inventory: Path, book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = tmp_path / "temporary"
    private.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    write(book, {"ansible.builtin.command": {"argv": ["true"]}})
    converge.converge(inventory, "site", Options(extra_vars=[f"word={SECRET}"]), watch=Quiet())
    assert list(private.iterdir()) == []


def test_exact_names_may_hold_any_sign(tmp_path: Path, book: Path) -> None:
    path = tmp_path / "odd.json"
    name = "robert@127.0.0.1:2222"
    path.write_text(json.dumps({"all": {"hosts": {name: {"ansible_connection": "local"}, "other": {}}}}))
    write(book, {"ansible.builtin.debug": {"msg": "x"}})
    run = converge.converge(path, "site", Options(names=[name]), watch=Quiet())
    assert [(account.name, account.state) for account in run.accounts] == [(name, "done")]


def test_names_that_match_nothing_are_ansible_s_refusal(inventory: Path, book: Path) -> None:
    write(book)
    with pytest.raises(SetupError, match="no hosts to target"):
        converge.converge(inventory, "site", Options(limit=["nosuch"]), watch=Quiet())


def test_a_missing_inventory_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"no inventory .*/absent\.yml"):
        converge.converge(tmp_path / "absent.yml", "site", Options(), watch=Quiet())


def test_a_bad_extra_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="-e nonsense is not key=value"):
        options.command_line(Options(extra_vars=["nonsense"]), tmp_path)


def test_the_inventory_tells_the_way_rendered_and_without_connecting(tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    words: dict[str, object] = {"ansible_host": "{{ place }}.example.org", "place": "remote", "ansible_port": 2222}
    words |= {"ansible_user": "robert", "ansible_ssh_common_args": "-o ProxyJump={{ place }}"}
    path.write_text(json.dumps({"all": {"hosts": {"r": words}}}))
    reach = converge.reaches(path, Options(names=["r"]))["r"]
    assert (reach.title, reach.args) == ("robert@remote.example.org:2222", "-o ProxyJump=remote")
    # What the command line sets counts more, for the way, too.
    reach = converge.reaches(path, Options(names=["r"], extra_vars=["place=far"]))["r"]
    assert (reach.title, reach.args) == ("robert@far.example.org:2222", "-o ProxyJump=far")


CHILD = """
import sys, pathlib
from nbfleet import content
from nbfleet.cli import main
content.playbook = lambda name: pathlib.Path(sys.argv[1])
sys.exit(main(["up", "-i", sys.argv[2], "--json"]))
"""


def test_ctrl_c_ends_everything_here_within_two_seconds(inventory: Path, book: Path, tmp_path: Path) -> None:
    private = tmp_path / "t"
    private.mkdir()
    mark = f"4{os.getpid()}"
    write(book, {"name": "Take long", "ansible.builtin.command": {"argv": ["sleep", mark]}})
    environment = {**os.environ, "TMPDIR": str(private), "NBFLEET_STATE_DIR": str(tmp_path / "s")}
    words = [sys.executable, "-c", CHILD, str(book), str(inventory)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        deadline = time.monotonic() + 30
        while not running(f"sleep {mark}"):
            assert time.monotonic() < deadline, "waited 30 s for the task to begin"
            time.sleep(0.05)
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        out, _err = child.communicate(timeout=20)
        took = time.monotonic() - began
    answer = json.loads(out)
    assert child.returncode == answer["exit_code"] == 130
    assert "“Take long”" in answer["error"]["message"]
    assert took < 2
    assert not running(str(private))
    assert list(private.iterdir()) == []


def running(words: str) -> bool:
    """Tell whether a process has these words in its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words in path.read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize(
    ("text", "title"),
    [("robert@h", "robert@h"), ("h", "h"), ("robert@h:2222", "robert@h:2222"), ("robert@[::1]:22", "robert@[::1]:22")],
)
def test_an_account_may_be_named_on_the_spot(text: str, title: str) -> None:
    name, reach = fleet.read_host(text, jump="bianca@b:22522", ssh_config="/x y")
    assert (name, reach.title) == (text, title)
    assert reach.config == "/x y"
    assert "ProxyJump=bianca@b:22522" in reach.args


@pytest.mark.parametrize("text", ["a b", "-oProxyCommand=x", "robert@-x", "@h", "h:port", "a@b@c"])
def test_what_is_no_account_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        fleet.read_host(text, jump=None, ssh_config=None)


def test_two_inventories_are_one_run(inventory: Path, book: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.json"
    more.write_text(inventory.read_text().replace('"a"', '"c"').replace('"b"', '"d"'))
    write(book, {"ansible.builtin.debug": {"msg": "here"}})
    chosen = fleet.chosen_inventory(
        [], inventory=[str(inventory), str(more)], jump=None, ssh_config=None, store=Store(tmp_path / "s")
    )
    with chosen as (files, _, _):
        run = converge.converge(files, "site", Options(), watch=Quiet())
    assert sorted(account.name for account in run.accounts) == ["a", "b", "c", "d"]


def test_a_jump_is_not_for_an_inventory(inventory: Path, tmp_path: Path) -> None:
    chosen = fleet.chosen_inventory(
        [], inventory=[str(inventory)], jump="b", ssh_config=None, store=Store(tmp_path / "s")
    )
    with pytest.raises(UsageError, match="-J"), chosen:
        pass
