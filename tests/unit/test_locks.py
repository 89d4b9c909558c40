"""The controller's side of locks: what is read from them, which one is kept where, and who makes it."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import time
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail
from role_code import load, load_shared

ROLE = Path(__file__).resolve().parents[2] / "roles" / "jupyter"
FORK = multiprocessing.get_context("fork")


action = load("jupyter", "conda_environment", "action_plugins")
controller, lock_text, locks = (load_shared(f"conda_{name}") for name in ("controller", "lock_text", "locks"))


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the processes of one run of Ansible share."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setattr(action.constants, "DEFAULT_LOCAL_TMP", str(folder))
    return folder


def explicit(*stems: str) -> str:
    lines = [f"https://example.org/forge/noarch/{stem}.conda#{'a' * 64}" for stem in stems]
    return "\n".join(["# platform: linux-64", "@EXPLICIT", *lines, ""])


def test_two_locks_differ_by_what_was_added_removed_and_moved() -> None:
    before = explicit("numpy-1.26-py_0", "python-dateutil-2.9-py_0", "gone-1-0")
    after = explicit("numpy-2.0-py_1", "python-dateutil-2.9-py_5", "new-3-0")
    assert lock_text.difference(before, after) == {
        "added": ["new 3"],
        "removed": ["gone 1"],
        "moved": ["numpy 1.26 -> 2.0"],
    }
    assert lock_text.difference("", after)["added"] == ["new 3", "numpy 2.0", "python-dateutil 2.9"]


def test_a_lock_tells_what_it_was_solved_for() -> None:
    text = lock_text.with_specs(explicit("numpy-2.0-py_1"), ["numpy>=2,<3", "ipython", "ipython"])
    assert lock_text.asked_for(text) == {"numpy>=2,<3", "ipython"}
    assert lock_text.versions(text) == {"numpy": "2.0"}


def test_the_word_for_a_lock_changes_with_its_text_but_not_with_its_last_newline() -> None:
    text = explicit("numpy-2.0-py_1")
    assert locks.word(text) == locks.word(text.rstrip()) == hashlib.sha256(text.rstrip().encode()).hexdigest()[:12]
    assert locks.word(text) != locks.word(explicit("numpy-2.1-py_1"))
    assert locks.word("") == ""


def test_a_new_lock_takes_after_the_one_that_was_solved_for_most_of_its_packages(tmp_path: Path) -> None:
    few, many, other = (
        lock_text.with_specs(explicit(f"{name}-1-0"), specs)
        for name, specs in {"few": ["a"], "many": ["a", "b>=2"], "other": ["a", "b>=2", "c", "d"]}.items()
    )
    for name, text in {"linux-64-1": few, "linux-64-2": many, "linux-64-3": other, "linux-64-x": "none"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    # Not the other one, which would bring d.
    assert lock_text.most_alike(tmp_path / "linux-64-9.txt", ["a", "b>=3", "c"]) == many
    assert lock_text.most_alike(tmp_path / "linux-aarch64-9.txt", ["a", "b>=3", "c"]) == ""
    assert lock_text.most_alike(tmp_path / "linux-64-9.txt", ["z"]) == ""


@pytest.mark.parametrize(
    ("text", "name"), [("numpy", "numpy"), ("Notebook>=7", "notebook"), ("forge::r-base=4.4", "r-base"), ("a <2", "a")]
)
def test_the_name_in_a_spec(text: str, name: str) -> None:
    assert lock_text.spec_name(text) == name


def test_a_lock_is_never_seen_half_written(tmp_path: Path) -> None:
    place = tmp_path / "lock.txt"
    controller.write(place, "one")
    with place.open() as reader:
        controller.write(place, "two")
        assert reader.read() == "one"
    assert place.read_text() == "two"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["lock.txt"]


def test_a_folder_that_cannot_be_made_is_named_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert controller.unwritable(tmp_path / "file" / "locks") == "Not a directory"
    assert controller.read(tmp_path / "file" / "locks" / "lock.txt") == controller.read(tmp_path / "none.txt") == ""
    assert controller.unwritable(tmp_path / "new" / "locks") == ""
    assert (tmp_path / "new" / "locks").is_dir()


def take_turn(place: Path, said: Path, *, makes: bool) -> None:
    with action.turn(place, there=place.exists, seconds=20) as mine:
        with said.open("a") as told:
            told.write(f"{mine}\n")
        if mine == "first":
            deadline = time.monotonic() + 20
            # Until the others are seen waiting: each has the file open.
            while len(waiting(place)) < 4 and time.monotonic() < deadline:
                time.sleep(0.05)
            if makes:
                place.touch()


def waiting(place: Path) -> list[Path]:
    """Return the descriptors, of whatever process, by which the turn's file is open."""
    file, found = action.in_this_run(place, "turn"), []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            found += [link] if link.readlink() == file else []
    return found


def turns(tmp_path: Path, *, makes: bool) -> list[str]:
    said = tmp_path / "said"
    processes = [FORK.Process(target=take_turn, args=(tmp_path / "it", said), kwargs={"makes": makes}) for _ in "four"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    return sorted(said.read_text().split())


def test_one_makes_it_and_the_others_find_it(tmp_path: Path) -> None:
    assert turns(tmp_path, makes=True) == ["first", "there", "there", "there"]


def test_when_the_first_one_gives_up_the_others_go_on_at_once(tmp_path: Path) -> None:
    assert turns(tmp_path, makes=False) == ["alone", "alone", "alone", "first"]


def test_a_wait_ends_with_a_sentence_that_names_what_was_waited_for(tmp_path: Path) -> None:
    place = tmp_path / "linux-64-1.txt"
    with action.turn(place, there=place.exists, seconds=1) as mine:
        assert mine == "first"
        # Another descriptor of the same file, as another process has it.
        with (
            pytest.raises(AnsibleActionFail, match=r"making .*linux-64-1\.txt for 0 s; look at that account"),
            action.turn(place, there=place.exists, seconds=0),
        ):
            pass


@pytest.mark.parametrize("platform", ["linux-64", "linux-aarch64"])
def test_the_linker_is_pinned_by_one_hash_a_platform(platform: str) -> None:
    requirement = ROLE / "files" / "linker" / f"{platform}.txt"
    assert len(controller.sha256_of(requirement.read_text())) == 64
    assert platform in controller.WHEEL_TAGS


def test_a_wheel_that_cannot_be_had_is_a_reason_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    empty = tmp_path / "index"
    empty.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(empty))
    wheel = tmp_path / "cache" / "linker.whl"
    reason = controller.fetch_wheel(ROLE / "files" / "linker" / "linux-64.txt", wheel)
    assert "No matching distribution found for py-rattler" in reason
    assert list(wheel.parent.iterdir()) == []


def test_only_a_file_with_the_right_hash_is_intact(tmp_path: Path) -> None:
    file = tmp_path / "wheel"
    assert not controller.intact(file, "")
    file.write_bytes(b"wheel")
    assert controller.intact(file, hashlib.sha256(b"wheel").hexdigest())
    assert not controller.intact(file, hashlib.sha256(b"other").hexdigest())
