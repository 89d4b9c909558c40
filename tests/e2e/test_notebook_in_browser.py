"""A person's first hour, in a real browser: through the bastion and the forward to the node behind it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from notebook_page import Terminal, edit_text, open_tree, run_cell
from playwright.sync_api import Browser, BrowserContext, expect

from tests.conftest import CHROMIUM
from tests.machines import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.machines import Lab


@pytest.fixture(scope="module")
def url(connect: Callable[[str], dict[str, Any]]) -> str:
    return str(connect("robert-node12")["url"])


def test_the_page_opens_logged_in_and_the_address_keeps_no_token(context: BrowserContext, url: str) -> None:
    tree = open_tree(context, url)
    tree.page.wait_for_url(re.compile(r"/tree$"))
    assert "token" not in tree.page.url


def test_the_browser_that_the_driver_opens_remembers_no_token(
    provisioned: Lab, browser: Browser, url: str, tmp_path: Path
) -> None:
    opener, asked, profile = tmp_path / "browser", tmp_path / "asked", tmp_path / "profile"
    opener.write_text(f'#!/bin/sh\necho "$1" >{asked}\n')
    opener.chmod(0o700)
    person = browser.browser_type.launch_persistent_context(profile, executable_path="/usr/bin/chromium", args=CHROMIUM)
    page = person.new_page()
    # The driver waits until its page has been read, and takes it away.
    driver = provisioned.start("connect", "robert-node12", "--background", BROWSER=f"{opener} %s")
    wait_for("the driver to open a browser", lambda: asked.exists() and asked.read_text().endswith("\n"))
    page.goto(asked.read_text().strip())
    assert driver.wait(60) == 0
    page.wait_for_url(re.compile(r"/tree\??$"))
    expect(page.get_by_role("menuitem", name="New", exact=True)).to_be_visible()
    person.close()
    kept = [path for path in profile.rglob("*") if path.is_file()]
    assert b"/robert-node12/tree" in (profile / "Default" / "History").read_bytes()
    token = url.partition("?token=")[2].encode()
    assert len(token) == 64
    assert not [path for path in kept if token in path.read_bytes()]


def test_without_the_token_the_page_asks_for_it(context: BrowserContext, url: str) -> None:
    page = context.new_page()
    page.goto(url.partition("?")[0])
    expect(page.locator("#password_input")).to_be_visible()


def test_a_file_is_created_renamed_edited_downloaded_and_deleted(context: BrowserContext, url: str) -> None:
    tree = open_tree(context, url)
    tree.choose_new("New File")
    tree.name_new("notes.txt")
    tree.rename("notes.txt", "diary.txt")
    editor = tree.open("diary.txt")
    edit_text(editor, "dear diary\n")
    editor.close()
    assert tree.download("diary.txt").read_text() == "dear diary\n"
    tree.delete("diary.txt")


def test_a_notebook_computes_and_the_running_tab_stops_it(context: BrowserContext, url: str) -> None:
    tree = open_tree(context, url)
    notebook = tree.new("Python 3 (ipykernel)")
    assert run_cell(notebook, 0, "6*7") == "42"
    assert "total" in run_cell(notebook, 1, "!ls -alh")
    assert run_cell(notebook, 2, "files = !ls -1") == ""
    assert "Untitled.ipynb" in run_cell(notebook, 3, "files")
    tree.shut_down_kernels()
    notebook.close()
    tree.delete("Untitled.ipynb")


def test_a_terminal_finds_the_environment_s_python(context: BrowserContext, url: str) -> None:
    terminal = Terminal(open_tree(context, url).new("Terminal"))
    found = terminal.ask("which python", re.compile("/.*/python"))
    assert re.fullmatch("/home/robert/miniconda3/envs/jupyter(-[0-9]+)?/bin/python", found)


def test_two_accounts_are_open_in_one_browser(
    context: BrowserContext, url: str, connect: Callable[[str], dict[str, Any]]
) -> None:
    other = str(connect("robert-node13")["url"])
    trees = [open_tree(context, url), open_tree(context, other)]
    for tree, name in zip(trees, ["node12", "node13"], strict=True):
        notebook = tree.new("Python 3 (ipykernel)")
        assert run_cell(notebook, 0, "import socket; print(socket.gethostname())").endswith(name)
        notebook.close()
    for tree in trees:
        tree.shut_down_kernels()
        tree.delete("Untitled.ipynb")
