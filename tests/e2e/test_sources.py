"""Where the installer and the packages come from, on a real account that nothing else uses."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.machines import only_way, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.machines import Lab

pytestmark = pytest.mark.sampled("worlds")
ACCOUNT, WITHOUT_PYTHON = "zoe-node12", "nils-node13"
HOME = "/home/zoe"


@pytest.fixture
def bare(lab: Lab) -> Iterator[Lab]:
    """The lab, with two accounts on which nothing is installed before and after."""

    def clear() -> None:
        lab.bare("node12", "zoe")
        lab.bare("node13", "nils")

    clear()
    yield lab
    clear()


@pytest.fixture(scope="module")
def given(lab: Lab) -> dict[str, Any]:
    """What the lab's inventory says of its distribution."""
    found: dict[str, Any] = yaml.safe_load(lab.inventory.read_text())["accounts"]["vars"]
    return found


def test_an_installer_that_is_not_what_its_hash_says_changes_nothing(bare: Lab, given: dict[str, Any]) -> None:
    address = f"{given['miniconda_base_url']}/Miniconda3-standin-Linux-x86_64.sh"
    words = ["--limit", ACCOUNT, "--tags", "miniconda", "-e", "miniconda_flavour=miniforge miniconda_version="]
    before = bare.said(ACCOUNT, "ls -A")
    for sha256, sentence in {
        "0" * 64: f"has the SHA-256 {given['miniconda_sha256']} instead of {'0' * 64}, so it was not run",
        "''": "no SHA-256 is known for Miniconda3-standin-Linux-x86_64.sh; look it up at the vendor's and set",
    }.items():
        refused = bare.playbook("site", *words, "-e", f"miniconda_installer_url={address} miniconda_sha256={sha256}")
        assert refused.code != 0
        assert sentence in " ".join(refused.out.split())
        assert bare.said(ACCOUNT, "ls -A") == before


@pytest.mark.full
def test_an_installer_from_an_address_of_its_own_is_noted_by_its_own_name(bare: Lab, given: dict[str, Any]) -> None:
    address = f"{given['miniconda_base_url']}/Miniconda3-standin-Linux-x86_64.sh"
    words = ["--limit", ACCOUNT, "--tags", "miniconda", "-e", "miniconda_flavour=miniforge miniconda_version="]
    done = bare.playbook("site", *words, "-e", f"miniconda_installer_url={address}")
    assert done.code == 0, done.out
    mark = bare.said(ACCOUNT, "cat miniconda3/.nbfleet-installed")
    assert "flavour: Miniforge\nversion: Miniconda3-standin-Linux-x86_64\n" in mark


@pytest.fixture(scope="module")
def bundle(provisioned: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for the account, whose lock another account has made, in spite of a first try that was killed."""
    folder = tmp_path_factory.mktemp("bundle") / "folder"
    killed = alone(provisioned, folder).start(*gather(provisioned, folder))
    wait_for("a package", lambda: list(folder.glob("packages/*/*")))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=20)
    done = alone(provisioned, folder).nbfleet(*gather(provisioned, folder))
    assert done.code == 0, done.out + done.err
    return folder


def gather(lab: Lab, folder: Path) -> list[str]:
    return ["bundle", "-i", str(lab.inventory), ACCOUNT, "--to", str(folder), "--json"]


def alone(lab: Lab, folder: Path) -> Lab:
    """The lab as seen by a controller whose cache is empty."""
    return replace(lab, environment=lab.environment | {"XDG_CACHE_HOME": str(folder.parent)})


@pytest.fixture
def offline(bare: Lab, tmp_path: Path) -> Iterator[Lab]:
    """The lab as seen by a controller that has an empty cache and a proxy as its only way out, which nobody asked."""
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "PIP_INDEX_URL")
    with socket.create_server(("127.0.0.1", 0)) as server:
        nowhere = f"http://127.0.0.1:{server.getsockname()[1]}"
        environment = bare.environment | dict.fromkeys(names, nowhere) | {"XDG_CACHE_HOME": str(tmp_path / "none")}
        yield replace(bare, environment=environment)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_bundle_is_whole_and_made_once(provisioned: Lab, bundle: Path) -> None:
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=bundle, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout[-500:] + checked.stderr
    names = checked.stdout
    for part in ("installers/Miniconda3-standin-Linux-x86_64.sh: OK", "locks/linux-64-", "packages/noarch/", "linker-"):
        assert part in names
    packages = sorted(bundle.glob("packages/*/*"))
    cut, lost, *others = packages
    before = {path: path.stat().st_mtime_ns for path in others}
    cut.write_bytes(cut.read_bytes()[:100])
    lost.unlink()
    again = alone(provisioned, bundle).nbfleet(*gather(provisioned, bundle))
    assert again.code == 0, again.out
    assert {path: path.stat().st_mtime_ns for path in others} == before
    assert sorted(bundle.glob("packages/*/*")) == packages
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=bundle, check=False).returncode == 0
    assert list(bundle.rglob(".*")) == []


def test_a_bundle_provisions_bare_accounts_with_nothing_but_ssh_and_nothing_else_is_tried(
    offline: Lab, bundle: Path
) -> None:
    words = ["--limit", ACCOUNT, "-v", "-e", f"miniconda_bundle={bundle}"]
    both = ["--limit", f"{ACCOUNT},{WITHOUT_PYTHON}", *words[2:]]
    with only_way(offline, "node12", "bastion") as node12, only_way(offline, "node13", "bastion") as node13:
        done = offline.playbook("site", *both)
        assert done.code == 0, done.out[-4000:]
        again = offline.playbook("site", *both, "-e", "survey_trust=false")
        assert done.out.count("linked_by: rattler") == 2
        assert again.out.count("changed=0") == 2, again.out[-4000:]
        refused = offline.playbook("site", *words, "-e", '{"jupyter_extra_packages": ["bash_kernel"]}')
        assert (node12(), node13()) == (0, 0)
        offline.root("node12", "timeout 1 getent hosts example.org")
        assert node12() > 0  # so that they count
    assert refused.code != 0
    text = " ".join(refused.out.split())
    assert re.search(r"is not there: without a network nothing can be solved for", text), text[-1500:]
    assert "nbfleet bundle --to" in text
    for account in (ACCOUNT, WITHOUT_PYTHON):
        assert offline.said(account, "systemctl --user is-active nbfleet-jupyter") == "active"
    # An upgrade, too: another lock, and packages that only the bundle has any more.
    (lock,) = (bundle / "locks").glob("*.txt")
    whole = lock.read_text()
    lock.write_text("".join(line for line in whole.splitlines(keepends=True) if "/jupyter_console-" not in line))
    offline.said(ACCOUNT, "rm -rf miniconda3/pkgs/*.conda miniconda3/pkgs/*/")
    try:
        with only_way(offline, "node12", "bastion") as tried:
            upgraded = offline.playbook("upgrade", *words, "-e", "jupyter_service_when=now")
            assert tried() == 0
    finally:
        lock.write_text(whole)
    assert upgraded.code == 0, upgraded.out[-4000:]
    assert re.search(r"sent:\s+bytes: \d{7,}", upgraded.out), upgraded.out[-4000:]
    assert offline.said(ACCOUNT, "readlink miniconda3/envs/jupyter") == "jupyter-2"


@pytest.mark.full
@pytest.mark.usefixtures("provisioned")
def test_the_controller_downloads_once_and_the_account_nothing(bare: Lab, tmp_path: Path) -> None:
    apart = alone(bare, tmp_path / "any")
    with only_way(bare, "node12", "bastion"):
        done = apart.playbook("site", "--limit", ACCOUNT, "-v", "-e", "miniconda_source=controller")
    assert done.code == 0, done.out[-4000:]
    sent = re.search(r"sent:\s+bytes: (\d+)\s+packages: (\d+)", done.out)
    assert sent
    assert int(sent[2]) == len(list((tmp_path / "nbfleet" / "packages").glob("*/*")))
    assert int(sent[1]) > 1_000_000
    assert [path.name for path in (tmp_path / "nbfleet" / "installers").iterdir()] == [
        "Miniconda3-standin-Linux-x86_64.sh"
    ]


@pytest.mark.full
def test_a_second_account_takes_an_admin_s_packages_and_is_sent_none(offline: Lab, bundle: Path) -> None:
    # Files of root are copied where fs.protected_hardlinks forbids another name for them.
    made = offline.root(
        "node12",
        "mkdir -p /opt/nbfleet && cp -a /home/robert/miniconda3/pkgs /opt/nbfleet/ && "
        "chown -R root: /opt/nbfleet && chmod -R go-w,go+rX /opt/nbfleet",
    )
    assert made.code == 0, made.err
    given = json.dumps({"miniconda_bundle": str(bundle), "jupyter_package_caches": ["/opt/nbfleet/pkgs"]})
    try:
        with only_way(offline, "node12", "bastion"):
            done = offline.playbook("site", "--limit", ACCOUNT, "-v", "-e", given)
        listed = offline.said(ACCOUNT, f"{HOME}/miniconda3/bin/conda config --json --show pkgs_dirs")
    finally:
        offline.root("node12", "rm -rf /opt/nbfleet")
    assert done.code == 0, done.out[-4000:]
    assert "linked_by: rattler" in done.out
    assert "sent:" not in done.out
    assert "/opt/nbfleet/pkgs" in listed
