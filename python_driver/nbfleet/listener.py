"""Shows a run as the display does, and keeps of its results what a verb tells the person."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbfleet.display import Display
    from nbfleet.progress import Event


class Listener(ABC):
    """Watches a run for a display; each verb has its own that takes in results.

    Args:
        display: What shows the run.
    """

    def __init__(self, display: Display) -> None:
        self.live, self.task, self.words = display.live, display.task, display.words

    @abstractmethod
    def event(self, data: Event) -> None:
        """Take in the result of a task."""
