"""Run a Jupyter program, and put off what it prepares at every start and does not use.

Usage: serve.py PROGRAM [ARGUMENT ...]

jsonschema imports rfc3987_syntax, which makes 35 parsers of international addresses as it is imported. That is most of
Jupyter's start, and none of its schemas holds such an address (https://github.com/jupyter-server/jupyter_server/issues/1559).
So they are made when somebody asks for one.
"""

from __future__ import annotations

import importlib
import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

SLOW = "rfc3987_syntax"


class Postponed(ModuleType):
    """Stands for a module until something of it is used."""

    def is_valid_syntax(self, term: str, value: str) -> Any:  # noqa: ANN401 - the module's own answer
        """Ask the module itself: importing this one name is no use of it."""
        return self.itself().is_valid_syntax(term, value)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it has
        """Return what the module has."""
        return getattr(self.itself(), name)

    def itself(self) -> ModuleType:
        """Import the module, for all who ask from now on."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return importlib.import_module(self.__name__)


def main(program: str) -> None:
    """Run the program as if it had been started by itself."""
    found = importlib.util.find_spec(SLOW)
    if found:
        module = Postponed(SLOW)
        # Import looks at both, which is no use of it either.
        module.__spec__, module.__path__ = found, found.submodule_search_locations or []
        sys.modules[SLOW] = module
    sys.path[0] = str(Path(program).parent)
    del sys.argv[0]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1])
