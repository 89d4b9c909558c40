"""The installed command `nbfleet`, and `python -m nbfleet`."""

from __future__ import annotations

import sys

from nbfleet.cli import main


def run() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(main())


if __name__ == "__main__":
    run()
