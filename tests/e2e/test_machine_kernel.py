"""A language that the machine has, in the browser: R from Debian's packages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from notebook_page import open_tree, run_cell

from tests.machines import made_lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext

    from tests.machines import Lab

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
ACCOUNT = "robert-science12"


@pytest.fixture(scope="module")
def science() -> Iterator[Lab]:
    with made_lab("science") as lab:
        yield lab


def kernels(*names: str) -> list[str]:
    return ["-e", json.dumps({"jupyter_kernels": names})]


def test_what_the_machine_lacks_is_said_before_anything_is_registered(science: Lab) -> None:
    run = science.playbook("site", "--limit", ACCOUNT, *kernels("r-machine", "julia-machine"))
    assert run.code != 0
    assert "There is no julia on science12 for the kernel julia-machine; install Julia there" in run.out + run.err
    listed = science.on(ACCOUNT, "ls ~/miniconda3/envs/jupyter/share/jupyter/kernels")
    assert "machine" not in listed.out


def test_a_word_for_which_nothing_is_ready_is_refused(science: Lab) -> None:
    run = science.playbook("site", "--limit", ACCOUNT, *kernels("fortran"))
    assert run.code != 0
    assert "jupyter_kernels names fortran, for which nothing is ready" in run.out + run.err


def test_r_computes_in_the_browser(science: Lab, context: BrowserContext) -> None:
    done = science.nbfleet("up", "-i", str(science.inventory), ACCOUNT, "--json", *kernels("r-machine"))
    assert done.code == 0, done.out + done.err
    again = science.playbook("site", "--limit", ACCOUNT, *kernels("r-machine"))
    assert "changed=0" in again.out, again.out
    opened = science.nbfleet("connect", ACCOUNT, "--background", "--no-browser", "--json")
    assert opened.code == 0, opened.out + opened.err
    tree = open_tree(context, str(opened.answer["data"]["url"]))
    notebook = tree.new("R of this machine")
    assert run_cell(notebook, 0, "6*7") == "42"
    assert run_cell(notebook, 1, "cat(R.version$language, Sys.info()[['nodename']])") == "R science12"
