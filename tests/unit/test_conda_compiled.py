"""Compiled files of an environment that its users may only read."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from role_code import load_shared

if TYPE_CHECKING:
    from pathlib import Path

compiled = load_shared("conda_compiled")


def test_all_is_compiled_and_what_packages_left_goes(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("one", "other"):
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").write_text("x = 1\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    odd = packages / "one" / "__pycache__" / "a.b.c.d.pyc"
    with (tmp_path / "lock").open("w") as lock:
        compiled.compile_all(tmp_path, lock=lock.fileno(), seconds=60)
        odd.touch()
        files = {path.relative_to(packages).parts[0] for path in packages.glob("*/__pycache__/__init__.*.pyc")}
        assert files == {"one", "other"}
        (packages / "other" / "__init__.py").unlink()
        compiled.compile_all(tmp_path, lock=lock.fileno(), seconds=60)
    assert sorted(path.name for path in packages.iterdir()) == ["one"]
    assert odd.exists()
    assert len(list(odd.parent.iterdir())) == 2
