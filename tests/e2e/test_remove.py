"""Removal: what is listed goes, what is the person's stays, and what cannot be told apart is kept and told."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.machines import Lab, Run

MACHINE, USER = "node12", "zoe"
NODE = f"{USER}-{MACHINE}"
# What Jupyter, IPython and conda keep for the person.
THEIRS = (".local", ".ipython", ".jupyter", ".conda", ".config d", "miniconda3")


class Account:
    """An account that somebody lives in, as it was before us."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        lab.bare(MACHINE, USER)
        lab.prepared(MACHINE, "lived_in.sh", USER)
        self.before = self.fingerprint()

    def fingerprint(self) -> list[str]:
        return self.lab.prepared(MACHINE, "fingerprint.sh", USER).splitlines()

    def root(self, script: str) -> str:
        done = self.lab.root(MACHINE, script)
        assert done.code == 0, done.out + done.err
        return done.out.strip()

    def ask(self, script: str) -> str:
        return self.root(f"su -s /bin/sh {USER} -c {shlex.quote('cd; ' + script)}")

    def run(self, verb: str, *words: str) -> Run:
        return self.lab.nbfleet(verb, "-i", str(self.lab.inventory), NODE, "--json", *words)

    def remains(self) -> list[str]:
        """Return what is there and was not before, but for what is the person's."""
        now = self.fingerprint()
        assert [line for line in self.before if line not in now] == []
        new = [line for line in now if line not in self.before]
        return [line for line in new if not line.rpartition("./")[2].startswith(THEIRS)]


@pytest.fixture(scope="module")
def account(lab: Lab) -> Account:
    made = Account(lab)
    done = made.run("up")
    assert done.code == 0, done.out
    return made


def told(run: Run) -> dict[str, Any]:
    (found,) = run.answer["data"]["accounts"]
    one: dict[str, Any] = found
    return one


def test_a_dry_run_lists_what_goes_and_takes_nothing(account: Account) -> None:
    before = account.fingerprint()
    dry = account.run("remove", "--dry-run")
    assert dry.code == 0, dry.out
    listed = "\n".join(told(dry)["gone"])
    for thing in (
        "/home/zoe/.bashrc (changed)",
        "/home/zoe/.config/nbfleet/token",
        "nbfleet-jupyter.service",
        "/home/zoe/miniconda3/envs/jupyter",
        "service: stop",
    ):
        assert thing in listed
    assert "would have removed /home/zoe/miniconda3" in " ".join(told(dry)["told"])
    assert account.fingerprint() == before


def test_conda_and_the_person_s_environments_stay_and_an_edited_block_is_kept(account: Account) -> None:
    account.ask("sed -i '/^# >>> nbfleet/,/^# <<< nbfleet/s/^case /echo mine; case /' dotfiles/bashrc")
    account.ask("miniconda3/bin/conda create -y -q -n own wheel >/dev/null && touch notebook.ipynb")
    edited = account.ask("sha256sum <dotfiles/bashrc")
    gone = account.run("remove", "--yes", "--keep-conda")
    assert gone.code == 0, gone.out
    sentences = " ".join(told(gone)["told"])
    assert "/home/zoe/miniconda3 stays, as miniconda_keep says" in sentences
    assert "had edited the block of nbfleet" in sentences
    (backup,) = account.ask("ls .local/state/nbfleet").split()
    assert account.ask(f"sha256sum <.local/state/nbfleet/{backup}") == edited
    assert account.ask("ls miniconda3/envs") == "own"
    assert "wheel" in account.ask("miniconda3/bin/conda list -n own")
    assert "nbfleet" not in account.ask("cat miniconda3/.condarc; ls -A miniconda3/condarc.d 2>/dev/null || :")
    assert [line for line in account.remains() if "notebook.ipynb" not in line] == []
    assert "jupyter" not in account.root(f"ps -u {USER} -o args= || :")


def test_after_that_everything_goes_but_the_person_s_environment(account: Account) -> None:
    again = account.run("up")
    assert again.code == 0, again.out
    kept = account.run("remove", "--yes")
    assert kept.code == 0, kept.out
    assert "holds environments that nbfleet did not make ( own )" in " ".join(told(kept)["told"])
    account.ask("rm -r miniconda3/envs/own")
    gone = account.run("remove", "--yes")
    assert gone.code == 0, gone.out
    assert account.ask("ls -d miniconda3 || :") == ""
    twice = account.run("remove", "--yes")
    assert (twice.code, told(twice)["changed"]) == (0, 0)
