"""Say where a server's configuration is no Python, before a restart ends a server that would not start again.

Usage: readable.py CONFIG
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path


def mistake(config: str) -> str:
    """Return what keeps a server from reading it, in a few words; empty when all is well."""
    try:
        compile(Path(config).read_bytes(), config, "exec")
    except OSError as error:
        return f"{config} cannot be read ({error.strerror})"
    except SyntaxError as error:
        return f"{config} has a mistake in its line {error.lineno} ({error.msg}: {(error.text or '').strip()[:80]})"
    except ValueError as error:  # a byte that no text has
        return f"{config} has a mistake ({error})"
    return ""


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # what is said is a refusal
    sys.exit(mistake(sys.argv[1]) or 0)
