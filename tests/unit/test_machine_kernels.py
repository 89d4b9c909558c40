"""Kernels by one word, and kernels that the machine has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from role_code import ROLES, load, load_shared

if TYPE_CHECKING:
    from pathlib import Path

machine_kernels = load("jupyter", "machine_kernels")
named_kernels = load("jupyter", "kernels", "filter_plugins").named_kernels
specs = load_shared("conda_specs")
READY = yaml.safe_load((ROLES / "jupyter" / "defaults" / "main.yml").read_text())["jupyter_ready_kernels"]
OWN = {"name": "stats", "packages": ["ipykernel"]}


def test_a_word_stands_for_its_entry_and_what_is_written_out_stays() -> None:
    assert named_kernels(["r", OWN], READY) == [{"name": "r", **READY["r"]}, OWN]


def test_every_ready_kernel_says_what_to_install_or_what_to_run() -> None:
    assert named_kernels(sorted(READY), READY)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("cobol", "names cobol, for which nothing is ready; .* julia-machine, r, r-machine, scala-machine"),
        ({"name": "r"}, r"an entry \(r\) that needs a name and packages"),
        ({"packages": ["r-base"]}, r"an entry \(without a name\)"),
    ],
)
def test_an_entry_that_says_too_little_is_refused(asked: str | dict[str, Any], sentence: str) -> None:
    with pytest.raises(AnsibleFilterError, match=sentence):
        named_kernels([asked], READY)


@pytest.fixture
def ruby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "iruby"
    program.write_text("#!/bin/sh\necho 'no zmq here' >&2\ntest -e \"$0.works\"\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return program


def ensure(environment: Path, *kernels: dict[str, Any], check: bool = False) -> dict[str, Any]:
    asked = {"environment": str(environment), "kernels": kernels, "timeout": 5}
    answer: dict[str, Any] = machine_kernels.ensure(asked, check_mode=check)
    return answer


def kernel(**more: Any) -> dict[str, Any]:
    return {"name": "Ruby", "argv": ["iruby", "kernel", "{connection_file}"], "check": ["iruby", "--version"], **more}


def test_a_program_of_the_machine_is_registered_once(tmp_path: Path, ruby: Path) -> None:
    (tmp_path / "iruby.works").touch()
    file = tmp_path / "env" / "share" / "jupyter" / "kernels" / "ruby" / "kernel.json"
    assert ensure(tmp_path / "env", kernel(), check=True)["changed"]
    assert not file.exists()
    assert ensure(tmp_path / "env", kernel())["programs"] == {"Ruby": str(ruby)}
    found = json.loads(file.read_text())
    assert found["argv"] == [str(ruby), "kernel", "{connection_file}"]
    assert not ensure(tmp_path / "env", kernel())["changed"]


def test_a_program_that_cannot_is_named_with_its_own_words(tmp_path: Path, ruby: Path) -> None:
    with pytest.raises(specs.Refusal, match=rf"{ruby} of \S+ cannot run the kernel Ruby \(no zmq here\); get iruby"):
        ensure(tmp_path / "env", kernel(missing="get iruby"))
    assert not (tmp_path / "env").exists()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(specs.Refusal, match=r"there is no nothing-here on .* for the kernel Ruby; install it"):
        ensure(tmp_path / "env", kernel(argv=["nothing-here"]))


def test_removal_knows_the_kernels_of_the_machine(tmp_path: Path, ruby: Path) -> None:
    ruby.with_name("iruby.works").touch()
    ensure(tmp_path, kernel())
    kernels_of = load_shared("conda_kernels").kernels_of
    assert kernels_of(tmp_path) == {tmp_path / "share" / "jupyter" / "kernels" / "ruby": None}
