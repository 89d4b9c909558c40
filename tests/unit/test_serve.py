"""The start of Jupyter puts off a slow import until it is used, and is otherwise the program's own start."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.machines import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SERVE = ROOT / "roles/jupyter_service/files/serve.py"
SLOW = """
print("made")
def is_valid_syntax(term, value):
    return (term, value) == ("iri", "right")
def parse(term, value):
    return "parsed"
"""
# As jsonschema imports it.
IMPORT = "from rfc3987_syntax import is_valid_syntax as valid\nprint('imported')\n"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program beside a package that says when it is imported."""
    package = tmp_path / "bin" / "rfc3987_syntax"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(SLOW)
    (package / "utils.py").write_text("print('utils')\n")
    return package.parent / "program"


def said(program: Path, text: str, *words: str, path: Path | None = None) -> list[str]:
    """Return the lines that the program says, started as a service starts Jupyter."""
    program.write_text(text)
    environment = {"PYTHONPATH": str(path or program.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, SERVE, program, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_importing_it_makes_nothing_and_the_first_use_makes_it_once(program: Path) -> None:
    assert said(program, IMPORT) == ["imported"]
    uses = "print(valid('iri', 'right'), valid('iri', 'wrong'))\n"
    assert said(program, IMPORT + uses) == ["imported", "made", "True False"]


@pytest.mark.parametrize(
    ("use", "answer"),
    [
        ("from rfc3987_syntax import parse; print(parse('iri', ''))", ["made", "parsed"]),
        ("import rfc3987_syntax; print(rfc3987_syntax.parse('iri', ''))", ["made", "parsed"]),
        ("import rfc3987_syntax.utils as u, rfc3987_syntax; print(u is rfc3987_syntax.utils)", ["utils", "True"]),
        ("import rfc3987_syntax as r\nprint(hasattr(r, 'nothing'))", ["made", "False"]),
    ],
)
def test_whoever_uses_more_of_it_gets_it(program: Path, use: str, answer: list[str]) -> None:
    assert said(program, use) == answer


def test_where_it_is_not_installed_there_is_none(program: Path, tmp_path: Path) -> None:
    text = "try:\n    import rfc3987_syntax\nexcept ImportError as error:\n    print(error)\n"
    program = tmp_path / "program"
    assert said(program, text, path=tmp_path / "empty") == ["No module named 'rfc3987_syntax'"]


def test_the_program_sees_itself_started(program: Path) -> None:
    text = "import sys; print(sys.argv, sys.path[0], __name__)"
    assert said(program, text, "--config=x", "y") == [f"{[str(program), '--config=x', 'y']} {program.parent} __main__"]


def test_its_status_is_the_program_s_status(program: Path) -> None:
    program.write_text("import sys; sys.exit(7)")
    assert subprocess.run([sys.executable, SERVE, program], check=False).returncode == 7
