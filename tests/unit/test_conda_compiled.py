"""Compiled files of an environment."""

from __future__ import annotations

import os
import subprocess
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


def test_another_environment_takes_over_what_is_compiled_of_the_very_same_file(tmp_path: Path) -> None:
    first, second = (
        tmp_path / name / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" for name in ("first", "second")
    )
    for folder in (first, second):
        folder.mkdir(parents=True)
    for name in ("same", "gone", "other"):
        (first / f"{name}.py").write_text("def where():\n    return where.__code__.co_filename\n")
    os.link(first / "same.py", second / "same.py")
    (second / "other.py").write_bytes((first / "other.py").read_bytes())
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(first)], check=True, timeout=60)
    compiled.take_over(tmp_path / "first", tmp_path / "second")
    (cached,) = (second / "__pycache__").iterdir()
    assert cached.samefile(first / "__pycache__" / cached.name)
    program = f"import sys; sys.path.insert(0, {str(second)!r}); import same; print(same.where())"
    run = subprocess.run([sys.executable, "-v", "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert f"{cached} matches {second / 'same.py'}" in run.stderr  # it is believed, and tells the path of its place
    assert run.stdout.strip() == str(second / "same.py")
