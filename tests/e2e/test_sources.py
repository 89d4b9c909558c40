"""Where the installer and the packages come from, on a real account that nothing else uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machines import Lab

ACCOUNT = "zoe-node12"
HOME = "/home/zoe"


@pytest.fixture
def bare(lab: Lab) -> Iterator[Lab]:
    """The lab, with an account on which nothing is installed before and after."""
    clear = f"systemctl --user stop nbfleet-jupyter; rm -rf {HOME}/miniconda3 {HOME}/.miniconda3.nbfleet {HOME}/.conda"
    lab.on(ACCOUNT, clear)
    yield lab
    lab.on(ACCOUNT, clear)


@pytest.fixture(scope="module")
def given(lab: Lab) -> dict[str, Any]:
    """What the lab's inventory says of its distribution."""
    found: dict[str, Any] = yaml.safe_load(lab.inventory.read_text())["accounts"]["vars"]
    return found


def said(lab: Lab, script: str) -> str:
    """Run a script on the account and return what it printed."""
    done = lab.on(ACCOUNT, script)
    assert done.code == 0, done.out + done.err
    return done.out.partition(">>\n")[2].replace("\r", "").strip()


def test_an_installer_that_is_not_what_its_hash_says_changes_nothing(bare: Lab, given: dict[str, Any]) -> None:
    address = f"{given['miniconda_base_url']}/Miniconda3-standin-Linux-x86_64.sh"
    words = ["--limit", ACCOUNT, "--tags", "miniconda", "-e", "miniconda_flavour=miniforge miniconda_version="]
    before = said(bare, "ls -A")
    for sha256, sentence in {
        "0" * 64: f"has the SHA-256 {given['miniconda_sha256']} instead of {'0' * 64}, so it was not run",
        "''": "no SHA-256 is known for Miniconda3-standin-Linux-x86_64.sh; look it up at the vendor's and set",
    }.items():
        refused = bare.playbook("site", *words, "-e", f"miniconda_installer_url={address} miniconda_sha256={sha256}")
        assert refused.code != 0
        assert sentence in " ".join(refused.out.split())
        assert said(bare, "ls -A") == before


def test_an_installer_from_an_address_of_its_own_is_noted_by_its_own_name(bare: Lab, given: dict[str, Any]) -> None:
    address = f"{given['miniconda_base_url']}/Miniconda3-standin-Linux-x86_64.sh"
    words = ["--limit", ACCOUNT, "--tags", "miniconda", "-e", "miniconda_flavour=miniforge miniconda_version="]
    done = bare.playbook("site", *words, "-e", f"miniconda_installer_url={address}")
    assert done.code == 0, done.out
    mark = said(bare, "cat miniconda3/.nbfleet-installed")
    assert "flavour: Miniforge\nversion: Miniconda3-standin-Linux-x86_64\n" in mark
