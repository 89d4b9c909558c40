"""Which installer each flavour, release and address comes to, as the role's own variables say it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from role_code import variables

URL = "https://mirror.example.org/pub/Anaconda3-2031.01-1-Linux-x86_64.sh?signed=yes"


def rendered(wanted: str, **given: str) -> Any:
    facts = {"ansible_facts": {"architecture": "x86_64", "user_dir": "/home/robert"}}
    found = variables("miniconda") | facts
    return Templar(loader=DataLoader(), variables=found | given).template(found[wanted])


def parameters(**given: str) -> dict[str, Any]:
    found: dict[str, Any] = rendered("__miniconda_parameters", **given)
    return found


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
@pytest.mark.parametrize(
    ("flavour", "place"),
    [
        ("miniconda", "https://repo.anaconda.com/miniconda/Miniconda3-py313_"),
        ("anaconda", "https://repo.anaconda.com/archive/Anaconda3-20"),
        ("miniforge", "https://github.com/conda-forge/miniforge/releases/download/"),
    ],
)
def test_every_flavour_has_a_release_with_a_known_hash(flavour: str, place: str, architecture: str) -> None:
    found = parameters(miniconda_flavour=flavour, miniconda_architecture=architecture)
    assert found["URL"].startswith(place)
    assert found["URL"].endswith(f"/{found['FILE']}")
    assert found["FILE"].endswith(f"-Linux-{architecture}.sh")
    assert len(found["SHA256"]) == 64


def test_the_folder_of_a_miniforge_release_is_its_version() -> None:
    found = parameters(miniconda_flavour="miniforge", miniconda_version="99.1-0", miniconda_sha256="A" * 64)
    assert found["URL"].endswith("/releases/download/99.1-0/Miniforge3-99.1-0-Linux-x86_64.sh")
    assert found["SHA256"] == "a" * 64


def test_a_release_whose_hash_is_not_known_has_none() -> None:
    assert parameters(miniconda_version="py399_99.1.1-0")["SHA256"] == ""


def test_an_address_of_its_own_is_called_by_its_own_name_and_takes_no_other_file_s_hash() -> None:
    found = parameters(miniconda_installer_url=URL)
    assert (found["URL"], found["FILE"]) == (URL, "Anaconda3-2031.01-1-Linux-x86_64.sh")
    assert (found["VERSION"], found["SHA256"]) == ("Anaconda3-2031.01-1-Linux-x86_64", "")


def test_a_known_file_on_a_mirror_keeps_its_hash() -> None:
    file = parameters()["FILE"]
    assert len(parameters(miniconda_installer_url=f"http://mirror.example.org/{file}")["SHA256"]) == 64


def test_an_address_without_a_file_name_gets_one_that_an_installer_may_have() -> None:
    assert parameters(miniconda_installer_url="https://example.org/get?latest")["FILE"] == "installer.sh"


@pytest.mark.parametrize("proxy", ["", "http://p:3128", "http://me:ge%40heim@p.example.org:3128/", "https://[::1]:1"])
def test_an_address_of_a_proxy_is_taken(proxy: str) -> None:
    assert rendered("__miniconda_objection", miniconda_proxy=proxy) == ""


@pytest.mark.parametrize(
    "proxy", ["p:3128", "me:geheim@p:3128", "http://me:ge@heim@p:3128", "http://me:geheim@p:3128/x y"]
)
def test_another_text_is_refused_and_not_repeated(proxy: str) -> None:
    sentence = rendered("__miniconda_objection", miniconda_proxy=proxy)
    assert sentence.startswith("miniconda_proxy is no address of a proxy; write http://HOST:PORT")
    assert "heim" not in sentence


@pytest.mark.parametrize("name", ["miniconda_base_url", "miniconda_installer_url"])
def test_a_password_in_an_address_that_all_can_read_is_refused_and_not_repeated(name: str) -> None:
    sentence = rendered("__miniconda_objection", **{name: "https://me:geheim@mirror.example.org/x.sh"})
    assert "take the password out of them" in sentence
    assert "geheim" not in sentence
