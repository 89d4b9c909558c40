"""Turn any Linux account that SSH reaches into a running Jupyter, and open it in the browser."""

from __future__ import annotations

__version__ = "0.1.0"
