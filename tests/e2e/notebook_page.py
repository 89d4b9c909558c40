"""What a person does in Jupyter Notebook 7, in terms of the page's own labels."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Locator, Page


# A busy machine takes its time; what is there is found at once.
expect.set_options(timeout=60_000)

#: Colours, cursor movements and modes, as terminals write them.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Tree:
    """The file list of Jupyter Notebook, opened in one browser tab."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def file(self, name: str) -> Locator:
        """The row of one file."""
        return self.page.locator(".jp-DirListing-item", has=self.page.get_by_text(name, exact=True))

    def expect_open(self) -> None:
        """The file list is there, so nobody was asked for a token."""
        expect(self.page.get_by_role("tab", name="Files")).to_be_visible()
        expect(self.page.locator(".jp-DirListing-content")).to_be_visible()

    def new(self, entry: str) -> Page:
        """Choose an entry of the New menu and return the tab that it opens."""
        with self.page.expect_popup() as popup:
            self.choose_new(entry)
        return popup.value

    def choose_new(self, entry: str) -> None:
        """Choose an entry of the New menu."""
        self.page.get_by_role("menuitem", name="New", exact=True).click()
        self.page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{re.escape(entry)}$")).click()

    def name_new(self, name: str) -> None:
        """Type the name that the file list asks for."""
        editor = self.page.locator(".jp-DirListing-editor")
        editor.fill(name)
        editor.press("Enter")
        expect(self.file(name)).to_be_visible()

    def rename(self, old: str, new: str) -> None:
        """Rename a file by its context menu."""
        self._context(old, "Rename")
        self.name_new(new)
        expect(self.file(old)).to_have_count(0)

    def open(self, name: str) -> Page:
        """Open a file in its own tab."""
        with self.page.expect_popup() as popup:
            self.file(name).dblclick()
        return popup.value

    def download(self, name: str) -> Path:
        """Download a file by its context menu; returns where the browser put it."""
        with self.page.expect_download() as download:
            self._context(name, "Download")
        return download.value.path()

    def delete(self, name: str) -> None:
        """Move a file to the trash, or delete it where there is none."""
        self._context(name, re.compile("Delete|Trash"))
        self.page.get_by_role("dialog").get_by_role("button", name=re.compile("Delete|Trash")).click()
        expect(self.file(name)).to_have_count(0)

    def shut_down_kernels(self) -> None:
        """Stop every running kernel in the Running tab."""
        self.page.get_by_role("tab", name="Running").click()
        kernels = self.page.get_by_role("region", name="Kernels Section")
        expect(kernels.get_by_role("treeitem").first).to_be_visible()
        toolbar = self.page.get_by_role("toolbar", name="Kernels toolbar")
        toolbar.get_by_role("button", name="Shut Down All").click()
        self.page.get_by_role("dialog").get_by_role("button", name="Shut Down All").click()
        expect(kernels.get_by_role("treeitem")).to_have_count(0)
        self.page.get_by_role("tab", name="Files").click()

    def _context(self, name: str, entry: str | re.Pattern[str]) -> None:
        self.file(name).click(button="right")
        self.page.get_by_role("menuitem", name=entry).first.click()


def open_tree(context: BrowserContext, url: str) -> Tree:
    """Open the URL that the driver printed; the page must ask for nothing."""
    tree = Tree(context.new_page())
    tree.page.goto(re.sub(r"/(lab|tree)?\?token=", "/tree?token=", url))
    tree.expect_open()
    return tree


def run_cell(page: Page, number: int, code: str) -> str:
    """Type code into the last cell, run it and return what it printed.

    Args:
        page: A notebook's tab.
        number: The cell's place, counted from 0.
        code: What to type.
    """
    cell = page.locator(".jp-Notebook-cell").nth(number)
    cell.locator(".cm-content").click()
    page.keyboard.insert_text(code)
    page.keyboard.press("Shift+Enter")
    expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[[0-9]+\]:"))
    output = cell.locator(".jp-OutputArea-output")
    return output.first.inner_text().strip() if output.count() else ""


def edit_text(page: Page, text: str) -> None:
    """Type text into the editor's tab and save it."""
    page.locator(".cm-content").click()
    page.keyboard.insert_text(text)
    with page.expect_response(lambda response: response.request.method == "PUT" and response.ok):
        page.keyboard.press("Control+s")


class Terminal:
    """A terminal's tab. It is drawn on a canvas, so what it says is read from its websocket."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said = ""
        page.on("websocket", lambda websocket: websocket.on("framereceived", self._hear))

    def _hear(self, frame: str | bytes) -> None:
        kind, *rest = json.loads(frame)
        if kind == "stdout":
            self.said += "".join(rest)

    def ask(self, command: str, answer: re.Pattern[str], *, limit: float = 20) -> str:
        """Type a command and return the line that answers it.

        Args:
            command: What to type.
            answer: What the line must match.
            limit: Seconds to wait for it.

        Raises:
            AssertionError: No such line came in time.
        """
        screen = self.page.locator(".jp-Terminal .xterm-screen")
        expect(screen).to_be_visible()
        screen.click()
        self.page.keyboard.type(command + "\n")
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            for line in _ESCAPES.sub("", self.said).splitlines():
                if answer.fullmatch(line.strip()):
                    return line.strip()
            self.page.wait_for_timeout(50)
        raise AssertionError(f"no line like {answer.pattern!r} came within {limit} s; the terminal said: {self.said!r}")
