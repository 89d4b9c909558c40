"""Ctrl-C and SIGTERM, taken for as long as a block lasts and given back afterwards."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def own_signals() -> Iterator[list[int]]:
    """Count Ctrl-C and SIGTERM in a list instead of raising, and give the old handlers back at the end."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for each in kept:
        signal.signal(each, lambda received, _frame: seen.append(received))
    try:
        yield seen
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def until_told() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event for as long as the block lasts."""
    stop = threading.Event()
    kept = {each: signal.signal(each, lambda *_: stop.set()) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)
