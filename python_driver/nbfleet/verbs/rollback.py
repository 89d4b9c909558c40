"""`nbfleet rollback`: back to the environment before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfleet.verbs.upgrade import switch

if TYPE_CHECKING:
    import argparse

    from nbfleet.answer import Answer
    from nbfleet.display import Display


def run(args: argparse.Namespace, display: Display) -> Answer:
    """Run the playbook, and tell which environment counts on each account."""
    return switch(args, "rollback", display)
