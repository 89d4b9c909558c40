"""Environments side by side for one name: which one counts, what is carried, what goes. Files alone, no conda."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import pytest
from role_code import keep_environment, load, load_shared

generation = load("jupyter", "conda_generation")
carry, generations, locks, records, specs = (
    load_shared(f"conda_{name}") for name in ("carry", "generations", "locks", "records", "specs")
)
SHA = "a" * 64
HERE = "linux-64"


@pytest.fixture(autouse=True)
def _on_linux_64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A prefix whose conda makes an environment of what the explicit file names."""
    prefix = tmp_path / "miniconda3"
    (prefix / "bin").mkdir(parents=True)
    program = prefix / "bin" / "conda"
    program.write_text(
        f"""#!{sys.executable}
import json, pathlib, sys
env = pathlib.Path(sys.argv[sys.argv.index("-p") + 1]) / "conda-meta"
env.mkdir(parents=True, exist_ok=True)
(env / "history").touch()
for line in pathlib.Path(sys.argv[sys.argv.index("--file") + 1]).read_text().splitlines()[1:]:
    url = line.partition("#")[0]
    stem = url.rpartition("/")[2].removesuffix(".conda")
    (env / (stem + ".json")).write_text(json.dumps({{"sha256": "{SHA}", "url": url}}))
print(json.dumps({{"success": True}}))
"""
    )
    program.chmod(0o755)
    return prefix


def lock(*stems: str) -> str:
    lines = [f"http://mirror.example/conda-forge/{HERE}/{stem}.conda#{SHA}" for stem in stems]
    return "\n".join([f"# platform: {HERE}", "@EXPLICIT", *lines, ""])


def run(base: Path, *, check: bool = False, **params: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"specs": ["notebook"], "timeout": 20, "generations": True, **params}
    return keep_environment(base, check=check, **given)


def choose(base: Path, state: str, folder: str = "", *, refused: str = "", keep: int = 1) -> dict[str, Any]:
    given: dict[str, Any] = {"conda_prefix": str(base), "environment": str(base / "envs" / "jupyter")}
    given |= {"variables_file": None, "generation": folder, "refused": refused, "keep": keep, "state": state}
    result: dict[str, Any] = generation.act(given, check_mode=False)
    return result


def names(base: Path) -> list[str]:
    return sorted(path.name for path in (base / "envs").iterdir())


def record(environment: Path, stem: str, **words: Any) -> None:
    known = {"sha256": SHA, "url": f"http://mirror.example/conda-forge/{HERE}/{stem}.conda", **words}
    (environment / "conda-meta" / f"{stem}.json").write_text(json.dumps(known))


@pytest.fixture
def first(base: Path) -> Path:
    """A new account's environment."""
    run(base, lock=lock("notebook-7.0-0", "python-3.12.4-0"))
    return base / "envs" / "jupyter"


@pytest.fixture
def folder(base: Path) -> Path:
    """An environment as releases before links made it."""
    run(base, lock=lock("notebook-7.0-0", "python-3.12.4-0"), generations=False)
    return base / "envs" / "jupyter"


NEWER = lock("notebook-7.1-0", "python-3.12.4-0")


def test_a_new_environment_is_made_beside_its_name(base: Path, first: Path) -> None:
    assert names(base) == ["jupyter", "jupyter-1"]
    assert str(first.readlink()) == "jupyter-1"
    again = run(base, lock=lock("notebook-7.0-0", "python-3.12.4-0"))
    assert (again["changed"], again["environment"]) == (False, str(base / "envs" / "jupyter-1"))


def test_a_folder_stays_a_folder(base: Path, folder: Path) -> None:
    assert run(base, lock=lock("notebook-7.0-0", "python-3.12.4-0"))["changed"] is False
    assert run(base, lock=NEWER)["environment"] == str(folder)
    assert names(base) == ["jupyter"]


def test_a_link_that_somebody_took_away_comes_back(base: Path, first: Path) -> None:
    first.unlink()
    for check in (True, False):
        assert run(base, lock=lock("notebook-7.0-0", "python-3.12.4-0"), check=check)["changed"] is True
        assert first.is_symlink() is not check
    assert str(first.readlink()) == "jupyter-1"


def test_the_dry_run_names_the_folder_and_changes_nothing(base: Path, first: Path) -> None:
    foretold = run(base, state="beside", lock=NEWER, check=True)
    assert names(base) == ["jupyter", "jupyter-1"]
    done = run(base, state="beside", lock=NEWER)
    assert foretold["environment"] == done["environment"] == str(base / "envs" / "jupyter-2")
    assert str(first.readlink()) == "jupyter-1"


def test_what_is_as_the_lock_says_is_not_built_again(base: Path, first: Path) -> None:
    answer = run(base, state="beside", lock=lock("notebook-7.0-0", "python-3.12.4-0"))
    assert (answer["changed"], names(base)) == (False, ["jupyter", "jupyter-1"])
    assert first.is_symlink()


def test_there_and_back_and_there_again(base: Path, first: Path) -> None:
    built = run(base, state="beside", lock=NEWER)["environment"]
    choose(base, "current", built)
    assert str(first.readlink()) == "jupyter-2"
    back = choose(base, "back", refused=locks.word(NEWER))
    assert back["environment"] == str(base / "envs" / "jupyter-1")
    # The lock that was left is no work; another one is.
    assert run(base, lock=NEWER)["changed"] is False
    assert run(base, lock=lock("notebook-7.2-0", "python-3.12.4-0"), check=True)["changed"] is True
    again = run(base, state="beside", lock=NEWER)
    assert again["environment"] == str(base / "envs" / "jupyter-3")
    choose(base, "current", again["environment"])
    assert choose(base, "pruned")["removed"] == [str(base / "envs" / "jupyter-2")]
    assert names(base) == ["jupyter", "jupyter-1", "jupyter-3"]


def test_a_folder_is_put_aside_and_back_where_its_paths_lead(base: Path, folder: Path) -> None:
    (folder / "here").touch()
    built = run(base, state="beside", lock=NEWER)["environment"]
    choose(base, "current", built)
    assert names(base) == ["jupyter", "jupyter-0", "jupyter-1"]
    assert choose(base, "back")["environment"] == str(folder)
    assert (folder / "here").exists()
    assert not folder.is_symlink()
    choose(base, "back")
    assert str(folder.readlink()) == "jupyter-1"


def test_what_still_runs_is_not_taken_away(base: Path, first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("7.1", "7.2"):
        built = run(base, state="beside", lock=lock(f"notebook-{version}-0", "python-3.12.4-0"))["environment"]
        choose(base, "current", built)
    running = os.path.realpath(base / "envs" / "jupyter-1" / "bin" / "python")
    with monkeypatch.context() as patched:
        patched.setattr(generations, "_programs", lambda: iter([running]))
        assert choose(base, "pruned")["removed"] == []
    assert choose(base, "pruned")["removed"] == [str(base / "envs" / "jupyter-1")]
    assert first.is_symlink()


def test_with_nothing_to_go_back_to_nothing_is_done(base: Path, first: Path) -> None:
    run(base, state="beside", lock=NEWER)  # built, never counted
    with pytest.raises(specs.Refusal, match="nothing to go back to"):
        choose(base, "back")
    assert str(first.readlink()) == "jupyter-1"


def test_removal_takes_all_of_them_and_nobody_else_s(base: Path, first: Path) -> None:
    choose(base, "current", run(base, state="beside", lock=NEWER)["environment"])
    (base / "envs" / "jupyter-9" / "conda-meta").mkdir(parents=True)
    (base / "envs" / "jupyter-9" / "conda-meta" / "history").touch()
    foretold = run(base, state="absent", check=True)
    done = run(base, state="absent")
    assert foretold["removed"] == done["removed"]
    assert sorted(Path(path).name for path in done["removed"]) == ["jupyter", "jupyter-1", "jupyter-2"]
    assert names(base) == ["jupyter-9"]
    assert not first.is_symlink()


def kernel(base: Path, first: Path, name: str) -> Path:
    """Register a kernel as the role does."""
    run(base, environment=str(base / "envs" / f"kernel-{name}"), lock=lock("notebook-7.0-0"), generations=False)
    file = first / "share" / "jupyter" / "kernels" / name / "kernel.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"metadata": {"nbfleet": {"environment": str(base / "envs" / f"kernel-{name}")}}}))
    return file.parent


def test_a_kernel_that_is_not_listed_any_more_goes(base: Path, first: Path) -> None:
    wanted = lock("notebook-7.0-0", "python-3.12.4-0")
    folders = [kernel(base, first, name) for name in ("kept", "gone", "used")]
    record(base / "envs" / "kernel-used", "mine-1.0-0")
    assert run(base, lock=wanted)["changed"] is False
    for check in (True, False):
        assert run(base, lock=wanted, kernels=["Kept"], check=check)["changed"] is True
        assert [folder.exists() for folder in folders] == [True, check, check]
    assert names(base) == ["jupyter", "jupyter-1", "kernel-kept", "kernel-used"]
    assert run(base, lock=wanted, kernels=["Kept"])["changed"] is False


class TestCarrying:
    def test_what_the_person_added_comes_along_and_stays_the_person_s(self, base: Path, first: Path) -> None:
        record(first, "mine-1.0-0", depends=["notebook >=7", "helper"])
        record(first, "helper-2.0-0")
        built = run(base, state="beside", lock=NEWER)
        assert built["carried"] == ["helper 2.0", "mine 1.0"]
        marker = records.Environment(Path(built["environment"]), base).marker
        assert marker["packages"] == ["notebook", "python"]
        choose(base, "current", built["environment"])
        assert run(base, lock=NEWER)["changed"] is False

    def test_what_does_not_go_with_the_lock_is_named_with_the_way_out(self, base: Path, first: Path) -> None:
        record(first, "mine-1.0-0", depends=["notebook <7.1"])
        with pytest.raises(specs.Refusal, match=r"mine-1.0-0, which you added, needs notebook <7.1 and the lock has"):
            run(base, state="beside", lock=NEWER)
        assert names(base) == ["jupyter", "jupyter-1"]
        assert run(base, state="beside", lock=NEWER, leave=["mine"])["carried"] == []

    def test_pip_s_go_to_the_same_python_only(self, base: Path, first: Path) -> None:
        site = first / "lib" / "python3.12" / "site-packages"
        info = site / "Own_Thing-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").touch()
        (site / "own.py").write_text("x = 1\n")
        (first / "bin").mkdir()
        (first / "bin" / "own").write_text(f"#!{first.resolve()}/bin/python\n")
        listed = ["own.py", "../../../bin/own", "/etc/passwd", "Own_Thing-1.0.dist-info/METADATA"]
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in [*listed, "Own_Thing-1.0.dist-info/RECORD"]))
        with pytest.raises(
            specs.Refusal, match=r"pip installed own-thing for Python 3.12 and the lock has Python 3.13"
        ):
            run(base, state="beside", lock=lock("notebook-7.1-0", "python-3.13.1-0"))
        built = Path(run(base, state="beside", lock=NEWER)["environment"])
        assert (built / "lib" / "python3.12" / "site-packages" / "own.py").read_text() == "x = 1\n"
        assert (built / "bin" / "own").read_text() == f"#!{built}/bin/python\n"

    def test_settings_and_kernels_come_along_with_their_paths(self, base: Path, first: Path) -> None:
        kernel = first / "share" / "jupyter" / "kernels" / "own" / "kernel.json"
        kernel.parent.mkdir(parents=True)
        kernel.write_text(json.dumps({"argv": [f"{first.resolve()}/bin/python", f"{first.resolve()}5/bin/x"]}))
        built = Path(run(base, state="beside", lock=NEWER)["environment"])
        copied = json.loads((built / kernel.relative_to(first)).read_text())
        assert copied["argv"] == [f"{built}/bin/python", f"{first.resolve()}5/bin/x"]


@pytest.mark.parametrize(
    ("case", "reason"), [("base", "base environment"), ("theirs", "another hand"), ("none", "first")]
)
def test_what_cannot_be_upgraded_beside_is_refused(base: Path, case: str, reason: str) -> None:
    name = base if case == "base" else base / "envs" / "jupyter"
    if case == "theirs":
        (name / "conda-meta").mkdir(parents=True)
        (name / "conda-meta" / "history").touch()
    with pytest.raises(specs.Refusal, match=reason):
        run(base, state="beside", environment=str(name), lock=NEWER)
