"""display.py and progress.py: what a person sees of a run."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from nbfleet.display import LONG, Display
from nbfleet.progress import Account, Progress


def event(kind: str, **data: Any) -> dict[str, Any]:
    return {"event": kind, "pid": 7, "event_data": data}


def stats(**data: Any) -> dict[str, Any]:
    return event("playbook_on_stats", **{"ok": {}, "failures": {}, "dark": {}, "changed": {}, "processed": {}, **data})


def test_each_account_has_its_task_its_count_and_its_end() -> None:
    progress = Progress()
    progress.take(event("runner_on_start", host="a", task="Download", role="miniconda"))
    assert progress.accounts["a"].task == "miniconda: Download"
    progress.take(event("runner_on_ok", host="a", task="Download", res={"changed": True}))
    progress.take(stats(ok={"a": 1}, changed={"a": 1}, processed={"a": 1}))
    account = progress.accounts["a"]
    assert (account.state, account.changed, account.sentence, progress.pid) == ("done", 1, "", 7)


@pytest.mark.parametrize("prefix", ["Task failed: ", "Task failed: The filter plugin 'survey_answer' failed: "])
def test_a_failure_is_one_sentence_of_the_task_s_own(prefix: str) -> None:
    progress = Progress()
    result = {"msg": f"{prefix}/home has 1 GB free,\n 3 are needed."}
    progress.take(event("runner_on_failed", host="a", task="Refuse too little disk", res=result))
    progress.take(stats(failures={"a": 1}, processed={"a": 1}))
    account = progress.accounts["a"]
    assert account.state == "failed"
    assert account.sentence == "a failed at “Refuse too little disk”: /home has 1 GB free, 3 are needed."


def test_a_rescued_failure_is_none() -> None:
    progress = Progress()
    progress.take(event("runner_on_failed", host="a", task="Try", res={"msg": "no"}))
    progress.take(stats(ok={"a": 2}, processed={"a": 1}, rescued={"a": 1}))
    assert (progress.accounts["a"].state, progress.accounts["a"].sentence) == ("done", "")


def test_a_hidden_result_stays_hidden() -> None:
    progress = Progress()
    progress.take(event("runner_on_failed", host="a", task="Make the token", res={"censored": "hidden", "msg": "s3"}))
    assert "its output is hidden" in progress.accounts["a"].sentence


def test_a_command_s_own_last_words_explain_its_failure() -> None:
    progress = Progress()
    result = {"msg": "non-zero return code", "stdout": "Unpacking\ntar: No space left on device\n"}
    progress.take(event("runner_on_failed", host="a", task="Install", res=result))
    reason = progress.accounts["a"].reason
    assert reason is not None
    assert reason.says.endswith("tar: No space left on device")
    assert "Make room" in reason.hint


def test_an_unreachable_account_is_explained() -> None:
    progress = Progress()
    said = {"msg": "Failed to connect to the host via ssh: ssh: connect to host x port 22: Connection refused"}
    progress.take(event("runner_on_unreachable", host="a", task="Survey", res=said))
    account = progress.accounts["a"]
    assert (account.state, account.sentence) == ("unreachable", "a refuses the connection.")


def test_without_a_terminal_only_long_tasks_are_lines() -> None:
    stream = io.StringIO()
    display = Display(stream)
    with display.live():
        display.task(Account("a", task="Quick"), ended=True)
        display.task(Account("a", task="Slow", task_began=time.monotonic() - LONG - 1), ended=True)
    assert stream.getvalue() == "a: Slow (3.0 s)\n"


def test_quiet_says_errors_only() -> None:
    stream = io.StringIO()
    display = Display(stream, quiet=True)
    display.say("busy")
    display.error("broken")
    assert stream.getvalue() == "broken\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_table_names_account_task_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    display = Display(stream)
    with display.live():
        display.task(Account("robert-pc", task="Solve", task_began=time.monotonic() - 5), ended=False)
        display.say("a sentence between")
        time.sleep(0.4)
    shown = stream.getvalue()
    assert "robert-pc" in shown
    assert "Solve" in shown
    assert "5 s" in shown
    assert "a sentence between" in shown
