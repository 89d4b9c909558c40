"""One account solves, the others follow: locks on real machines, in a small environment beside Jupyter's."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.machines import Lab, Run

NODES = ["robert-node12", "robert-node13"]


class Shared:
    """The two accounts with an environment of their own, and the folder of its locks."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.wishes: dict[str, Any] = {
            "jupyter_environment": "{{ miniconda_prefix }}/envs/shared",
            "jupyter_packages": ["urllib3", "idna"],
            "jupyter_locks": str(folder),
        }

    @property
    def words(self) -> list[str]:
        return ["--limit", ",".join(NODES), "-e", json.dumps(self.wishes)]

    def site(self, *words: str) -> Run:
        """Install it: the one role that does, after the survey."""
        return self.lab.playbook("site", *self.words, "--tags", "jupyter", "-v", *words)

    def nbfleet(self, *words: str) -> Run:
        inventory = ["-i", str(self.lab.inventory), *NODES, "-e", json.dumps(self.wishes)]
        return self.lab.nbfleet("lock", *inventory, "--json", *words)

    @property
    def file(self) -> Path:
        (file,) = (file for file in self.folder.glob("*.txt") if "# spec: certifi" not in file.read_text())
        return file

    def older(self) -> str:
        """Make the lock one of yesterday, as far as idna goes; return idna's version of today."""
        text = self.file.read_text()
        found = re.search(r"/idna-([^-]+)-", text)
        assert found
        self.file.write_text(text.replace(f"/idna-{found[1]}-", "/idna-0.1-"))
        return found[1]


@pytest.fixture(scope="module")
def shared(provisioned: Lab, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    made = Shared(provisioned, tmp_path_factory.mktemp("controller") / "locks")
    for node in NODES:
        provisioned.on(node, "rm -rf miniconda3/envs/shared* miniconda3/.nbfleet-*shared*")
    done = made.site()
    assert done.code == 0, done.out[-4000:]
    # One solve, one lock, and all from it in the same run.
    assert done.out.count("lock_written:") == 1
    words = re.findall(r"^ *locked: '?(\w+)", done.out, re.MULTILINE)
    assert len(words) == len(NODES)
    assert len(set(words)) == 1
    assert done.out.count("linked_by: rattler") == len(NODES)
    return made


def test_the_lock_names_its_packages_and_what_it_was_solved_for(shared: Shared) -> None:
    assert re.fullmatch(r"linux-64-[0-9a-f]{8}\.txt", shared.file.name)
    text = shared.file.read_text()
    assert "# spec: idna\n# spec: urllib3\n" in text
    assert re.search(r"/idna-[^/]+#[0-9a-f]{64}$", text, re.MULTILINE)


def test_a_second_run_changes_nothing_on_any_account(shared: Shared) -> None:
    before = shared.file.read_bytes()
    again = shared.site()
    assert again.code == 0, again.out[-4000:]
    assert again.out.count("changed=0") == len(NODES)
    assert "lock_written" not in again.out
    assert shared.file.read_bytes() == before


def test_a_lock_that_is_there_is_kept(shared: Shared) -> None:
    before = shared.file.read_bytes()
    kept = shared.nbfleet()
    assert kept.code == 0, kept.err
    (lock,) = kept.answer["data"]["locks"]
    assert (lock["file"], lock["changed"], lock["moved"]) == (str(shared.file), False, [])
    assert shared.file.read_bytes() == before


def test_what_would_move_is_shown_without_writing_and_written_when_asked_for(shared: Shared) -> None:
    before = shared.file.read_text()
    today = shared.older()
    move = {"name": "idna", "from": "0.1", "to": today}
    shown = shared.nbfleet("--update", "--check")
    assert shown.code == 0, shown.err
    assert [lock["moved"] for lock in shown.answer["data"]["locks"]] == [[move]]
    assert "/idna-0.1-" in shared.file.read_text()
    made = shared.nbfleet("--update", "idna")
    assert made.code == 0, made.err
    (lock,) = made.answer["data"]["locks"]
    assert (lock["changed"], lock["added"], lock["removed"], lock["moved"]) == (True, [], [], [move])
    assert shared.file.read_text() == before


def test_a_package_that_the_lock_lacks_cannot_be_updated(shared: Shared) -> None:
    refused = shared.nbfleet("--update", "nosuch")
    assert refused.code != 0
    assert "holds no nosuch" in refused.answer["error"]["message"]


def test_a_package_more_moves_no_other(shared: Shared) -> None:
    with_one_more = Shared(shared.lab, shared.folder)
    with_one_more.wishes["jupyter_extra_packages"] = ["certifi"]
    before = set(shared.file.read_text().splitlines())
    done = with_one_more.site()
    assert done.code == 0, done.out[-4000:]
    assert done.out.count("lock_written:") == 1
    (new,) = (file for file in shared.folder.glob("*.txt") if "# spec: certifi\n" in file.read_text())
    assert before <= set(new.read_text().splitlines())
    # Back to the list without it.
    assert shared.site().code == 0


@pytest.mark.parametrize(
    ("head", "reason"),
    [("# platform: osx-arm64", "the lock is for osx-arm64"), ("# glibc: 99.1", "glibc 99.1")],
    ids=["another platform", "a newer glibc"],
)
def test_a_lock_that_does_not_fit_the_machine_is_refused_with_the_reason(
    shared: Shared, head: str, reason: str
) -> None:
    before = shared.file.read_text()
    lines = [line for line in before.splitlines() if not line.startswith(head.partition(":")[0])]
    shared.file.write_text("\n".join([head, *lines, ""]))
    refused = shared.site()
    shared.file.write_text(before)
    assert refused.code != 0
    assert refused.out.lower().count(reason) >= len(NODES)
    assert shared.site().out.count("changed=0") == len(NODES)


def test_without_a_folder_for_locks_each_account_solves_with_a_warning(shared: Shared, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    alone = Shared(shared.lab, tmp_path / "file" / "locks")
    alone.wishes["jupyter_environment"] = "{{ miniconda_prefix }}/envs/alone"
    done = alone.site()
    shared.lab.on(",".join(NODES), "rm -rf miniconda3/envs/alone*")
    assert done.code == 0, done.out[-4000:]
    assert "each account solves for itself" in " ".join((done.out + done.err).split())


def test_an_account_without_conda_says_what_to_do_first(lab: Lab, tmp_path: Path) -> None:
    wishes = json.dumps({"jupyter_locks": str(tmp_path), "miniconda_prefix": "/home/robert/nowhere"})
    refused = lab.nbfleet("lock", "-i", str(lab.inventory), NODES[0], "-e", wishes, "--json")
    assert refused.code != 0
    assert "There is no conda in /home/robert/nowhere" in refused.answer["error"]["message"]
    assert "run nbfleet up first" in refused.answer["error"]["message"]
    assert list(tmp_path.iterdir()) == []


def test_the_survey_sees_that_there_is_another_lock(provisioned: Lab) -> None:
    files = (provisioned.directory / "locks").glob("*.txt")
    (lock,) = (file for file in files if "# spec: jupyter\n" in file.read_text())
    before = lock.read_text()
    lock.write_text(before + "# looked at\n")
    try:
        follows = provisioned.playbook("site", "--limit", NODES[0])
        again = provisioned.playbook("site", "--limit", NODES[0])
    finally:
        lock.write_text(before)
    assert follows.code == 0, follows.out[-4000:]
    assert "the lock changed" in follows.out
    assert "Install conda" not in again.out
    assert provisioned.playbook("site", "--limit", NODES[0]).code == 0
