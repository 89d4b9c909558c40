"""cli.py: argv in, streams and exit codes out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from nbfleet.answer import Answer
from nbfleet.arguments import parser
from nbfleet.cli import main
from nbfleet.display import Display
from nbfleet.endpoint import Endpoint
from nbfleet.errors import Exit, InterruptedRunError, PartialError
from nbfleet.explain import Reason
from nbfleet.progress import Account
from nbfleet.store import Store
from nbfleet.verbs import lock, remove, status, up, upgrade
from test_endpoint import HANDOVER

DOCS = Path(__file__).resolve().parents[2] / "docs"
ENVELOPE = {"version", "command", "exit_code", "data", "error"}


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("NBFLEET_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return Store()


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_an_error_is_a_sentence_and_a_next_step_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "connect", "nobody")
    assert (code, out) == (Exit.SETUP, "")
    assert err == "Error: nobody is not known here.\nNext: Run nbfleet up nobody first.\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["connect", "nobody", "--json"], Exit.SETUP),
        (["--json"], Exit.USAGE),
        (["nosuchverb", "--json"], Exit.USAGE),
        (["logs", "nobody", "-f", "--json"], Exit.USAGE),
        (["up", "-i", "absent.yml", "--json"], Exit.SETUP),
        (["doctor", "-i", "absent.yml", "--json"], Exit.SETUP),
        (["doctor", "--nosuchword", "--json"], Exit.USAGE),
        (["remove", "x", "--json"], Exit.USAGE),
        (["status", "--json"], Exit.OK),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_json_is_exactly_one_object_whatever_happens(
    capsys: pytest.CaptureFixture[str], words: list[str], code: Exit
) -> None:
    returned, out, _err = run(capsys, *words)
    answer = json.loads(out)
    assert set(answer) == ENVELOPE
    assert returned == answer["exit_code"] == code
    if code:
        assert set(answer["error"]) == {"code", "message", "hint"}
        assert answer["error"]["code"] == code.name.lower()


def test_a_partial_success_shows_its_data_and_its_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Answer({"accounts": []}, "text", PartialError("b failed.", hint="Do it."))
    monkeypatch.setattr(status, "run", lambda _args, _display: answer)
    code, out, err = run(capsys, "status")
    assert (code, out, err) == (Exit.PARTIAL, "text\n", "Error: b failed.\nNext: Do it.\n")
    code, out, err = run(capsys, "status", "--json")
    assert json.loads(out)["data"] == {"accounts": []}
    assert err == ""


def test_an_interrupt_is_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_args: object, _display: object) -> Answer:
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "run", interrupted)
    assert run(capsys, "status")[0] == 130


def test_what_is_left_to_do_is_done_after_the_answer_is_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    answer = Answer({}, "the address", then=lambda: seen.append(capsys.readouterr().out))
    monkeypatch.setattr(status, "run", lambda _args, _display: answer)
    assert main(["status"]) == 0
    assert seen == ["the address\n"]


def test_the_documented_exit_codes_are_those_of_the_program() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", (DOCS / "exit-codes.md").read_text(), re.MULTILINE)
    assert {name: int(number) for number, name in rows} == {code.name.lower(): int(code) for code in Exit}


def test_every_verb_is_in_the_documentation_of_its_json() -> None:
    text = (DOCS / "json.md").read_text()
    actions: Any = parser()._subparsers  # noqa: SLF001 - argparse has no other way to list them
    verbs = list(actions._group_actions[0].choices)  # noqa: SLF001
    assert [verb for verb in verbs if f"## `{verb}`" not in text] == []


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    look = "import sys; from nbfleet.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    look += "print([name for name in ('ansible_runner', 'rich', 'subprocess', 'http') if name in sys.modules])"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert time.monotonic() - began < 5  # a loaded machine; 0.1 s on an idle one


def account(name: str, state: str) -> Account:
    made = Account(name, state=state, task="Install")
    made.seconds = 1.0
    return made


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (["done", "done"], None),
        (["done", "failed"], Exit.PARTIAL),
        (["failed", "unreachable"], Exit.FAILED),
        (["unreachable", "unreachable"], Exit.UNREACHABLE),
    ],
)
def test_the_exit_code_says_how_many_were_done(states: list[str], code: Exit | None) -> None:
    from nbfleet.converge import Run

    accounts = [account(f"a{place}", state) for place, state in enumerate(states)]
    error = up.verdict(Run(accounts, [], stopped=False))
    assert (error.exit if error else None) == code


def test_the_summary_has_each_failed_account_s_reason_and_next_step() -> None:
    from nbfleet.converge import Run

    accounts = [account("a", "done"), account("b", "failed"), account("c", "unreachable")]
    accounts[1].reason = Reason("task_failed", "failed at “Install”: the disk is full", "Free some space.")
    accounts[2].reason = Reason("timeout", "does not answer", "Check the network.")
    first, second, third = up.report(Run(accounts, [], stopped=False), check=False).text.splitlines()
    assert first.split()[:2] == ["a", "done"]
    assert second.endswith("failed at “Install”: the disk is full. Free some space.")
    assert third.endswith("does not answer. Check the network.")


def test_an_interrupted_run_says_what_was_left() -> None:
    from nbfleet.converge import Run

    error = up.verdict(Run([account("a", "done"), account("b", "stopped")], [], stopped=True))
    assert isinstance(error, InterruptedRunError)
    assert "b was at “Install”; 1 had ended" in str(error)


@pytest.mark.parametrize(
    ("words", "hosts", "update"),
    [
        ([], [], None),
        (["a", "--update"], ["a"], []),
        (["a", "b", "--update", "numpy", "idna"], ["a", "b"], ["numpy", "idna"]),
    ],
    ids=["kept", "all of it", "two packages"],
)
def test_a_lock_is_kept_or_moves_as_far_as_it_may(words: list[str], hosts: list[str], update: list[str] | None) -> None:
    args = parser().parse_args(["lock", *words])
    assert (args.hosts, args.update) == (hosts, update)


def test_what_became_of_a_lock_is_told_line_by_line() -> None:
    told = lock.Results(Display())
    told.event({"host": "a", "res": {"changed": True}})
    assert told.locks == []
    result = {"lock_file": "l.txt", "added": ["b 2"], "removed": ["c 1"], "moved": ["d 1 -> 1!2"], "changed": True}
    told.event({"host": "a", "res": result})
    (found,) = told.locks
    assert found["moved"] == [{"name": "d", "from": "1", "to": "1!2"}]
    moves = ["  + b 2", "  - c 1", "  d 1 -> 1!2"]
    assert lock.lines(found, check=False) == ["l.txt: written", *moves]
    assert lock.lines(found, check=True) == ["l.txt: would be written", *moves]
    assert lock.lines({**found, "changed": False, "added": [], "removed": [], "moved": []}, check=False) == [
        "l.txt: kept"
    ]


def test_an_account_that_another_one_s_failure_ended_is_not_done() -> None:
    from nbfleet.converge import Run

    told = upgrade.Results(Display())
    for name in ("a", "b", "c"):
        built = {"changed": True, "environment": "/e/jupyter-2"}
        told.event({"host": name, "task_action": "conda_environment", "res": built})
    moved = {"changed": True, "environment": "/e/jupyter-2", "removed": []}
    told.event({"host": "c", "task_action": "conda_generation", "res": moved})
    told.event({"host": "d", "task_action": "conda_environment", "res": {"changed": False, "environment": "/e/j"}})
    run = Run([account("a", "failed"), *(account(name, "done") for name in "bcd")], [], stopped=False)
    upgrade.settle(run, told, check=False)
    assert [one.state for one in run.accounts] == ["failed", "stopped", "done", "done"]
    assert "since another account failed" in run.accounts[1].sentence
    # Those of a batch that never began are known by name only.
    told.event({"host": "a", "task_action": "ansible.builtin.debug", "res": {"msg": {"accounts": list("abcde")}}})
    upgrade.settle(run, told, check=False)
    assert [(one.name, one.state) for one in run.accounts[4:]] == [("e", "stopped")]
    assert str(up.verdict(run)).endswith("(2 of 5 left as they were.)")


def test_what_goes_is_listed_by_its_path() -> None:
    told = remove.Results(Display())
    results: list[dict[str, Any]] = [
        {"changed": True, "files": {"/h/.bashrc": "changed"}, "diff": [{"prepared": "-x"}], "backups": []},
        {"changed": True, "done": ["stop"], "diff": [{"before": "", "after": "stop\n"}]},
        {"changed": True, "diff": [{"before": "/h/a\n/h/b\n", "after": ""}]},
        {"changed": False, "diff": [{"before": "/h/c\n", "after": ""}]},
    ]
    for result in results:
        told.event({"host": "a", "res": result})
    told.event({"host": "a", "task_action": "ansible.builtin.assert", "res": {"msg": "conda stays."}})
    assert told.gone["a"] == ["/h/.bashrc (changed)", "service: stop", "/h/a", "/h/b"]
    assert told.told["a"] == ["conda stays."]


def test_no_token_is_ever_stored(store: Store) -> None:
    store.save(Endpoint.from_json(HANDOVER))
    store.remember_port("robert-pc", 8000)
    for path in store.root.rglob("*.json"):
        assert set(json.loads(path.read_text())) <= {"version", "endpoint", "local_port"}
        assert "token" not in path.read_text().replace("token_file", "").replace("/token", "")


def test_the_driver_keeps_its_walls() -> None:
    package = DOCS.parent / "python_driver" / "nbfleet"
    sources = {path.name: path.read_text() for path in package.rglob("*.py")}
    holders = {
        word: [
            name for name, text in sources.items() if re.search(rf"^\s*(?:import|from) {word}\b", text, re.MULTILINE)
        ]
        for word in ("subprocess", "ansible_runner")
    }
    assert holders == {"subprocess": ["process.py"], "ansible_runner": ["converge.py"]}
    assert [name for name, text in sources.items() if re.search(r"(?<![.\w])print\(\w", text)] == ["cli.py"]
    programs = {"__main__.py", "hold.py", "carry.py", "older_ssh.py"}
    assert {name for name, text in sources.items() if "sys.exit(" in text} == programs


def test_a_defect_is_one_sentence_and_its_traceback_a_private_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("nbfleet.verbs.status.run", lambda *_: 1 // 0)
    assert main(["status"]) == Exit.BUG
    told = capsys.readouterr().err
    assert "ZeroDivisionError" in told
    assert "Traceback" not in told
    (kept,) = tmp_path.glob("nbfleet-defect-*.txt")
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
