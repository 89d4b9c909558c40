"""A Debian 11: an old glibc and systemd, and the machine's Python, PyPy's 3.7, is too old for Ansible."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest
from accounts import remove, told, up

from tests.faults.notebook import Notebook
from tests.machines import ROOT, made_lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machines import Lab

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
ACCOUNT = "robert-node11"


@pytest.fixture(scope="module")
def old() -> Iterator[Lab]:
    with made_lab("old") as lab:
        lab.bare("node11", "robert")
        yield lab


def home(lab: Lab) -> list[str]:
    """Return what is in the home, but for what kernels leave there."""
    lines = lab.prepared("node11", "fingerprint.sh", "robert").splitlines()
    return [line for line in lines if not re.search(r"(^|  \./)\.(ipython|jupyter|local)\b", line)]


def checked(lab: Lab, *words: str, level: str = "ok") -> dict[str, str]:
    """Return what `doctor` says of the checks that came out so."""
    looked = lab.nbfleet("doctor", "-i", str(lab.inventory), ACCOUNT, *words, "--json")
    assert looked.code == (0 if level == "ok" else 5), looked.out
    (account,) = looked.answer["data"]["accounts"]
    return {one["check"]: one["says"] for one in account["checks"] if one["level"] == level}


def test_what_needs_a_newer_glibc_is_refused_before_anything_is_touched(old: Lab) -> None:
    before = home(old)
    # The lab's other distribution, of Debian 12; what is known of the vendor's Miniconda is less than it needs, and its
    # installer says so by itself.
    newer = json.loads(old.run(sys.executable, "tests/standin/build.py", "--cache", str(ROOT / ".cache/standin")).out)
    installer = f"{newer['root']}/miniconda/{newer['installer']}"
    assert old.run("podman", "cp", installer, f"{old.container('node11')}:/srv/installer.sh").code == 0
    other = ("-e", "miniconda_installer_url=file:///srv/installer.sh", "-e", f"miniconda_sha256={newer['sha256']}")
    needs = ("-e", "miniconda_minimum_glibc=2.36")
    assert checked(old, *needs, level="fail") == {"libc": "glibc 2.31, 2.36 is needed"}
    for run in (
        old.playbook("site", "--limit", ACCOUNT, "--check", *needs),
        old.playbook("site", "--limit", ACCOUNT, *other),
        old.nbfleet("up", "-i", str(old.inventory), ACCOUNT, *needs),
    ):
        assert run.code != 0
        assert "the system has glibc 2.31, Miniconda" in " ".join((run.out + run.err).split())
    assert home(old) == before
    assert old.root("node11", "test -e /var/lib/systemd/linger/robert").code == 1


def test_it_is_provisioned_by_the_python_that_comes_with_conda_and_put_back(old: Lab) -> None:
    assert old.said(ACCOUNT, ". /etc/os-release; echo $VERSION_ID") == "11"
    before = home(old)
    planned = old.playbook("site", "--limit", ACCOUNT, "--check")
    assert planned.code == 0, planned.out
    assert home(old) == before
    assert checked(old)["python"] == "3.7.10, too old for Ansible; nbfleet brings its own"
    up(old, ACCOUNT)
    assert checked(old)["python"] == "3.7.10, too old for Ansible; nbfleet has brought its own"
    again = old.playbook("site", "--limit", ACCOUNT, "-e", "survey_trust=false")
    assert again.code == 0, again.out
    assert "changed=0" in again.out, again.out
    opened = old.nbfleet("connect", ACCOUNT, "--background", "--no-browser", "--json")
    assert opened.code == 0, opened.out + opened.err
    notebook = Notebook(opened.answer["data"]["url"])
    assert notebook.run(notebook.start_kernel(), "import sys; print(6 * 7, sys.version_info[:2])") == "42 (3, 9)"
    remove(old, ACCOUNT)
    assert home(old) == before
    # From the lock that there is now. The linker is for newer Pythons than this conda's, so conda takes its place.
    locked = old.playbook("site", "--limit", ACCOUNT)
    assert locked.code == 0, locked.out
    assert "robert-node11: the linker does not run on this machine (ImportError: " in locked.out + locked.err
    module = "miniconda3/envs/jupyter/lib/python3.9/site-packages/webcolors/__init__.py"
    old.said(ACCOUNT, f"echo '# mine' >>{module}")
    up(old, ACCOUNT)
    assert old.said(ACCOUNT, f"grep -c mine {module} || echo repaired").split() == ["0", "repaired"]
    assert told(old, ACCOUNT)["keeper"] == "user"
    remove(old, ACCOUNT)
    assert home(old) == before
