"""The same lock by the linker and by conda, and on two accounts: the same bits, and conda goes on from there."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rattler
import yaml

from tests.machines import ROOT

if TYPE_CHECKING:
    from tests.machines import Lab

NODES = ("robert-node12", "robert-node13")
PREFIX = "/home/robert/miniconda3"
LINKER = "/tmp/nbfleet-test-linker.whl"  # noqa: S108 - on the accounts
# Of equal length, since a path in a binary file is replaced in place.
BY_LINKER, BY_CONDA = f"{PREFIX}/envs/lock-by-linker", f"{PREFIX}/envs/lock-by-conda-"

# Every file, link and its content, but for what conda and Python note for themselves; the prefix stands as @.
CONTENT = """
import hashlib, os, sys
prefix, digest, number = sys.argv[1], hashlib.sha256(), 0
for folder, names, files in os.walk(prefix):
    names[:] = sorted(name for name in names if name not in ("__pycache__", "conda-meta"))
    for path in sorted(os.path.join(folder, name) for name in files):
        content = os.readlink(path).encode() if os.path.islink(path) else open(path, "rb").read()
        content = content.replace(prefix.encode(), b"@")
        entry = os.path.relpath(path, prefix), oct(os.lstat(path).st_mode), hashlib.sha256(content).hexdigest()
        digest.update(repr(entry).encode())
        number += 1
print(number, digest.hexdigest())
"""


def module(lab: Lab, account: str, **params: Any) -> dict[str, Any]:
    """Call the module alone on an account and return its answer."""
    given = {"conda_prefix": PREFIX, "environment": BY_LINKER, "specs": ["notebook>=7"], **params}
    done = lab.run(
        "env",
        f"ANSIBLE_MODULE_UTILS={ROOT / 'roles' / 'jupyter' / 'module_utils'}",
        "ANSIBLE_CALLBACK_RESULT_FORMAT=json",
        *("ansible", "-i", str(lab.inventory), account, "-M", str(ROOT / "roles" / "jupyter" / "library")),
        *("-e", f"ansible_python_interpreter={PREFIX}/bin/python", "-m", "conda_environment", "-a", json.dumps(given)),
    )
    assert done.code == 0, done.out + done.err
    answer: dict[str, Any] = json.loads(done.out.partition("=>")[2])
    return answer


def said(lab: Lab, account: str, script: str) -> str:
    """Run a script on an account and return what it printed."""
    done = lab.on(account, script)
    assert done.code == 0, done.out + done.err
    return done.out.partition(">>\n")[2].replace("\r", "").strip()


def content(lab: Lab, account: str, environment: str) -> str:
    """Return the number of files of an environment, and a digest of them all."""
    lines = said(lab, account, f"{PREFIX}/bin/python -I - {environment} <<'END'\n{CONTENT}\nEND").splitlines()
    return next(line for line in lines if line[0].isdigit())


@pytest.fixture(scope="module")
def channel(provisioned: Lab) -> str:
    listed = yaml.safe_load(provisioned.inventory.read_text())
    return f"{listed['accounts']['vars']['conda_config_channel_alias']}/conda-forge"


@pytest.fixture(scope="module")
def linker(provisioned: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The linker of the development tools, packed as its wheel is, on both accounts."""
    wheel, package = tmp_path_factory.mktemp("linker") / "linker.whl", Path(rattler.__file__).parent
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in sorted(package.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(package.parent))
    words = ("-m", "ansible.builtin.copy", "-a", f"src={wheel} dest={LINKER} mode=0600")
    python = ("-e", f"ansible_python_interpreter={PREFIX}/bin/python")
    copied = provisioned.run("ansible", "-i", str(provisioned.inventory), ",".join(NODES), *python, *words)
    assert copied.code == 0, copied.out
    return {"linker": LINKER, "linker_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}


@pytest.fixture(scope="module")
def lock(provisioned: Lab, channel: str) -> str:
    answer = module(provisioned, NODES[0], state="solved", channels=[channel])
    assert answer["changed"] is False
    text: str = answer["explicit"]
    assert text.startswith("# platform: linux-")
    return text


@pytest.fixture(scope="module")
def linked(provisioned: Lab, channel: str, lock: str, linker: dict[str, str]) -> Lab:
    """The lock by the linker on both accounts, and by conda on the first."""
    for account in NODES:
        answer = module(provisioned, account, lock=lock, channels=[channel], **linker)
        assert (answer["linked_by"], answer["linker_refused"]) == ("rattler", "")
    answer = module(provisioned, NODES[0], lock=lock, channels=[channel], environment=BY_CONDA)
    assert (answer["linked_by"], answer["linker_refused"]) == ("conda", "no linker was given")
    return provisioned


def test_linker_and_conda_leave_the_same_files_and_the_same_list(linked: Lab, lock: str) -> None:
    by_linker, by_conda = (content(linked, NODES[0], environment) for environment in (BY_LINKER, BY_CONDA))
    assert by_linker == by_conda
    assert int(by_linker.split()[0]) > 1000
    lists = []
    for environment in (BY_LINKER, BY_CONDA):
        text = said(linked, NODES[0], f"{PREFIX}/bin/conda list -p {environment} --explicit --sha256")
        lists.append(sorted(line for line in text.splitlines() if "://" in line))
    assert lists[0] == lists[1] == sorted(line for line in lock.splitlines() if "://" in line)


def test_the_same_lock_is_the_same_bits_on_another_account(linked: Lab) -> None:
    assert content(linked, NODES[0], BY_LINKER) == content(linked, NODES[1], BY_LINKER)


def test_a_second_run_changes_nothing_and_finds_every_file_in_order(
    linked: Lab, channel: str, lock: str, linker: dict[str, str]
) -> None:
    for environment in (BY_LINKER, BY_CONDA):
        answer = module(linked, NODES[0], environment=environment, lock=lock, channels=[channel], verify=True, **linker)
        assert (answer["changed"], answer["linked_by"]) == (False, "")


def test_conda_goes_on_where_the_linker_ended(linked: Lab, channel: str, lock: str, linker: dict[str, str]) -> None:
    conda = f"{PREFIX}/bin/conda"
    there = f"-p {BY_LINKER}"
    before = content(linked, NODES[0], BY_LINKER)
    said(linked, NODES[0], f"{conda} install -y {there} --override-channels -c {channel} wheel")
    assert "import notebook works" in said(
        linked, NODES[0], f"""{conda} run {there} python -c 'import notebook, wheel; print("import notebook works")'"""
    )
    # What the user added is no difference to the lock.
    answer = module(linked, NODES[0], lock=lock, channels=[channel], **linker)
    assert answer["changed"] is False
    said(linked, NODES[0], f"{conda} remove -y {there} wheel")
    assert content(linked, NODES[0], BY_LINKER) == before
