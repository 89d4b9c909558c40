"""An account that the release before this one has provisioned is upgraded by this one, and loses nothing."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.machines import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.machines import Lab

NODE = "finn-node12"
# As long as there is no release: the last commit whose environments are folders at their name.
FALLBACK = "fc79031e7b5f40cf7f6941aa838b8a209a95d069"


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release before this one, as it was."""
    tags = [tag for tag in git("tag", "--merged", "HEAD~1", "--sort=-version:refname").splitlines() if tag[:1] == "v"]
    version = tags[0] if tags else FALLBACK
    if not git("rev-parse", "--verify", f"{version}^{{commit}}"):
        pytest.skip(f"this clone is too shallow to hold {version}")
    folder = tmp_path_factory.mktemp("previous")
    archive = folder / "release.tar"
    assert git("archive", "-o", str(archive), version) == ""
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    return folder


@pytest.mark.full
def test_the_account_of_the_previous_release_goes_on_and_is_upgraded(lab: Lab, previous: Path) -> None:
    where = ("-i", str(lab.inventory), "--limit", NODE)
    assert lab.run("ansible-playbook", *where, "playbooks/remove.yml").code == 0
    old = lab.run("ansible-playbook", *where, str(previous / "playbooks" / "site.yml"))
    assert old.code == 0, old.out[-4000:]
    notebook = lab.on(NODE, "touch notebook.ipynb; echo '# mine' >> .bashrc")
    assert notebook.code == 0
    # Another release is a reason to look, and what it finds is in order.
    taken_over = lab.playbook("site", "--limit", NODE)
    assert taken_over.code == 0, taken_over.out[-4000:]
    assert "failed=0" in taken_over.out
    assert "changed=0" in lab.playbook("site", "--limit", NODE).out
    (lock,) = (
        file
        for file in (lab.directory / "locks").glob("*.txt")
        if "# spec: jupyter\n" in file.read_text() and file.read_text().count("# spec: ") == 5
    )
    whole = lock.read_text()
    lock.write_text("".join(line for line in whole.splitlines(keepends=True) if "/jupyter_console-" not in line))
    try:
        upgraded = lab.nbfleet("upgrade", "-i", str(lab.inventory), NODE, "--json")
        assert upgraded.code == 0, upgraded.out
        back = lab.nbfleet("rollback", "-i", str(lab.inventory), NODE, "--json")
        assert back.code == 0, back.out
        assert "changed=0" in lab.playbook("site", "--limit", NODE).out
    finally:
        lock.write_text(whole)
    seen = lab.on(NODE, "ls notebook.ipynb; tail -n 1 .bashrc; systemctl --user is-active nbfleet-jupyter.service")
    assert seen.out.count("notebook.ipynb") == seen.out.count("# mine") == 1
    gone = lab.playbook("remove", "--limit", NODE)
    assert gone.code == 0, gone.out[-4000:]
    left = lab.on(NODE, "ls -d miniconda3 .config/nbfleet; ls notebook.ipynb")
    assert left.out.count("No such file") == 2
