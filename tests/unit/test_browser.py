"""browser.py: the private page."""

from __future__ import annotations

import stat
import threading
import time
import webbrowser
from typing import TYPE_CHECKING

from nbfleet import browser
from nbfleet.endpoint import Endpoint
from test_endpoint import HANDOVER

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ENDPOINT = Endpoint.from_json(HANDOVER)
TOKEN = "7" * 64


def test_the_page_is_private_and_posts_the_token(tmp_path: Path) -> None:
    page = browser.write_page(tmp_path, ENDPOINT, 8000, TOKEN)
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text()
    assert f'name="token" value="{TOKEN}"' in text
    assert 'action="http://127.0.0.1:8000/robert-remote/login"' in text
    assert 'method="post"' in text


def test_the_browser_is_given_a_file_and_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def open_url(url: str) -> bool:
        asked.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", open_url)
    page = browser.open_page(tmp_path, ENDPOINT, 8000, TOKEN)
    assert page is not None
    assert asked == [page.as_uri()]
    assert TOKEN not in asked[0]


def test_without_a_browser_no_page_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _url: False)
    assert browser.open_page(tmp_path, ENDPOINT, 8000, TOKEN) is None
    assert list(tmp_path.iterdir()) == []


def test_the_page_goes_after_it_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "_READ", 0.1)
    page = browser.write_page(tmp_path, ENDPOINT, 8000, TOKEN)
    keeper = threading.Thread(target=browser.remove_after_use, args=(page,), kwargs={"limit": 4.0})
    keeper.start()
    page.read_text()
    keeper.join(10)
    assert not page.exists()


def test_the_page_goes_unread_at_the_limit(tmp_path: Path) -> None:
    page = browser.write_page(tmp_path, ENDPOINT, 8000, TOKEN)
    began = time.monotonic()
    browser.remove_after_use(page, limit=0.3)
    assert not page.exists()
    assert time.monotonic() - began < 3
