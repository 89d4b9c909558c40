"""The modules that run on the account: what they decide, say and leave behind, without a conda or a systemd."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import json
import platform
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from role_code import keep_environment, load, load_shared

if TYPE_CHECKING:
    from collections.abc import Iterator

files = load("jupyter_service", "account_files")
kernels, locks, records, running, specs = (
    load_shared(f"conda_{name}") for name in ("kernels", "locks", "records", "run", "specs")
)
SHA = "a" * 64


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A conda whose program writes the records named in FAKE_CONDA and says what FAKE_ANSWER says."""
    prefix = tmp_path / "miniconda3"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta" / "history").touch()
    program = prefix / "bin" / "conda"
    program.write_text(
        f"""#!{sys.executable}
import json, os, pathlib, sys
here = pathlib.Path({str(tmp_path)!r})
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
plan = json.loads((here / "fake.json").read_text())
env = pathlib.Path(sys.argv[sys.argv.index("-p") + 1])
if sys.argv[1] == "remove":
    for name in sys.argv[sys.argv.index(str(env)) + 1:]:
        for record in (env / "conda-meta").glob(name + "-*.json"):
            record.unlink()
elif plan["stems"] is not None:
    (env / "conda-meta").mkdir(parents=True, exist_ok=True)
    (env / "conda-meta" / "history").touch()
    for stem in plan["stems"]:
        for older in (env / "conda-meta").glob(stem.rsplit("-", 2)[0] + "-[0-9]*.json"):
            older.unlink()
        (env / "conda-meta" / (stem + ".json")).write_text(json.dumps({{"sha256": "{SHA}"}}))
print(json.dumps(plan["answer"]))
sys.exit(plan["status"])
"""
    )
    program.chmod(0o755)
    return prefix


def fake(base: Path, *stems: str, answer: dict[str, Any] | None = None, status: int = 0, makes: bool = True) -> None:
    said = {"success": True} if answer is None else answer
    plan = {"stems": list(stems) if makes else None, "answer": said, "status": status}
    (base.parent / "fake.json").write_text(json.dumps(plan))


def calls(base: Path) -> list[list[str]]:
    file = base.parent / "calls"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def record(environment: Path, *stems: str) -> None:
    meta = environment / "conda-meta"
    meta.mkdir(parents=True, exist_ok=True)
    (meta / "history").touch()
    for stem in stems:
        (meta / f"{stem}.json").write_text(json.dumps({"sha256": SHA}))


def run(base: Path, *, check: bool = False, **params: Any) -> dict[str, Any]:
    return keep_environment(base, check=check, **{"specs": ["notebook>=7"], "timeout": 20, **params})


def lock(*stems: str, platform: str = "linux-64", digest: str = SHA) -> str:
    lines = [f"http://mirror.example/conda-forge/{platform}/{stem}.conda#{digest}" for stem in stems]
    return "\n".join([f"# platform: {platform}", "@EXPLICIT", *lines, ""])


@pytest.fixture(autouse=True)
def _on_linux_64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


class TestVersions:
    def test_they_sort_as_conda_sorts_them(self) -> None:
        ascending = ["0.4", "0.4.1.rc", "0.4.1", "0.5a1", "0.5b3", "0.5", "0.9.6", "1.0", "1.1dev1", "1.1a1"]
        ascending += ["1.1.0dev1", "1.1.a1", "1.1.0rc1", "1.1", "1.1.0post1", "1.1post1", "1.10", "1!0.4.1"]
        keys = [specs.version_key(version) for version in ascending]
        assert [a < b for a, b in itertools.pairwise(keys)] == [True] * (len(keys) - 1)

    def test_trailing_zeros_do_not_count(self) -> None:
        assert specs.version_key("7") == specs.version_key("7.0.0")

    @pytest.mark.parametrize(
        ("version", "constraint", "met"),
        [
            ("7.6.5", ">=7", True),
            ("6.5.6", ">=7", False),
            ("7.6.5", ">=7,<8", True),
            ("8.0", ">=7,<8", False),
            ("7.10", "=7.1", False),
            ("7.1.2", "=7.1", True),
            ("7.1.2", "==7.1", False),
            ("7.1.0", "==7.1", True),
            ("3.12.4", "3.12.*", True),
            ("3.1.4", "3.12.*", False),
            ("2.0", "!=2.*", False),
            ("1.4", "1.2|1.4", True),
            ("1.4.9", "~=1.4.2", True),
            ("1.5", "~=1.4.2", False),
            ("1.0rc1", "<1.0", True),
        ],
    )
    def test_a_constraint_is_met_or_not(self, version: str, constraint: str, met: bool) -> None:
        assert specs.version_matches(version, constraint) is met


class TestSpecs:
    @pytest.mark.parametrize(
        ("text", "name", "version", "build"),
        [
            ("IPython", "ipython", "", ""),
            ("jupyter-resource-usage", "jupyter-resource-usage", "", ""),
            ("notebook>=7", "notebook", ">=7", ""),
            ("python=3.12", "python", "=3.12", ""),
            ("numpy >=2,<3", "numpy", ">=2,<3", ""),
            ("numpy 1.26.*", "numpy", "1.26.*", ""),
            ("pytorch=2.4=*cuda*", "pytorch", "=2.4", "*cuda*"),
            ("conda-forge::xeus", "xeus", "", ""),
        ],
    )
    def test_it_is_read(self, text: str, name: str, version: str, build: str) -> None:
        assert specs.parse_spec(text) == (name, version, build)

    @pytest.mark.parametrize("text", ["", "six==", "numpy[version='>2']", "a b c d", "--offline", "a;b"])
    def test_what_is_not_understood_is_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(specs.Refusal, match="not understood; write it as"):
            specs.parse_spec(text)

    def test_what_is_missing_is_named_once_and_in_order(self) -> None:
        installed = {"notebook": specs.Record("notebook", "6.5", "0"), "ipython": specs.Record("ipython", "9", "0")}
        assert specs.unmet(["zlib", "notebook>=7", "ipython", "zlib"], installed) == ["zlib", "notebook>=7"]

    def test_a_build_is_compared(self) -> None:
        installed = {"pytorch": specs.Record("pytorch", "2.4.0", "cpu_py312")}
        assert specs.unmet(["pytorch=2.4=cpu*"], installed) == []
        assert specs.unmet(["pytorch=2.4=cuda*"], installed) == ["pytorch=2.4=cuda*"]


class TestPresent:
    def test_a_missing_environment_is_created_by_one_call_on_the_asked_channels_alone(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0")
        result = run(base, channels=["one", "two"])
        assert result["changed"] is True
        assert result["missing"] == ["notebook>=7"]
        environment = str(base / "envs" / "jupyter")
        head = ["create", "-y", "--json", "-p", environment, "--override-channels"]
        assert calls(base) == [[*head, "-c", "one", "-c", "two", "notebook>=7"]]

    def test_a_second_run_changes_nothing_and_calls_no_conda(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0")
        first = run(base)
        second = run(base)
        assert second["changed"] is False
        assert second["diff"] == []
        assert second["revision"] == first["revision"] != ""
        assert len(calls(base)) == 1

    def test_a_dry_run_predicts_the_same_and_touches_nothing(self, base: Path) -> None:
        before = sorted(base.rglob("*"))
        result = run(base, check=True)
        assert result["changed"] is True
        assert result["revision"] == ""
        assert result["diff"][0]["after"] == "notebook>=7\n"
        assert sorted(base.rglob("*")) == before
        assert calls(base) == []

    def test_a_dry_run_before_there_is_a_conda_predicts_a_change(self, tmp_path: Path) -> None:
        assert run(tmp_path / "none", check=True)["changed"] is True

    def test_without_conda_it_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(specs.Refusal, match="there is no conda in"):
            run(tmp_path / "none")

    def test_only_what_is_missing_is_installed(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0", "ipython-9.0-0")
        first = run(base, specs=["notebook>=7", "ipython"])
        fake(base, "six-1.17-0")
        second = run(base, specs=["notebook>=7", "ipython", "six"])
        assert calls(base)[1][0] == "install"
        assert calls(base)[1][-1:] == ["six"]
        assert calls(base)[1].count("ipython") == 0
        assert second["revision"] != first["revision"]

    def test_what_the_user_installs_does_not_change_the_revision(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0")
        first = run(base)
        record(base / "envs" / "jupyter", "pandas-3.0-0")
        assert run(base)["revision"] == first["revision"]

    def test_what_pip_left_is_no_presence(self, base: Path) -> None:
        environment = base / "envs" / "jupyter"
        record(environment)
        (environment / "lib" / "python3.13" / "site-packages" / "notebook-7.6.5.dist-info").mkdir(parents=True)
        assert run(base, check=True, adopt=True)["missing"] == ["notebook>=7"]

    def test_success_without_the_package_is_no_success(self, base: Path) -> None:
        fake(base, makes=False)
        with pytest.raises(specs.Refusal, match="said that all went well, yet notebook>=7 is not there"):
            run(base)

    def test_a_crash_at_exit_after_the_work_is_done_is_a_success(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0", status=139)
        assert run(base)["changed"] is True

    def test_a_failure_that_conda_rolled_back_leaves_no_work_behind(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0")
        run(base)
        fake(base, makes=False, status=1, answer={"exception_name": "PackagesNotFoundError", "packages": ["x"]})
        with pytest.raises(specs.Refusal, match="conda does not find x"):
            run(base, specs=["notebook>=7", "x"])
        assert run(base)["changed"] is False

    def test_a_creation_that_was_killed_is_redone_from_nothing(self, base: Path) -> None:
        fake(base, makes=False, status=137, answer={})
        with pytest.raises(specs.Refusal, match=r"killed \(signal 9\)"):
            run(base)
        left = base / "envs" / "jupyter" / "lib" / "half"
        left.mkdir(parents=True)
        fake(base, "notebook-7.6.5-0")
        assert run(base)["changed"] is True
        assert not left.exists()
        assert list(base.glob(".nbfleet-begun*")) == []

    def test_a_folder_of_another_hand_is_not_overwritten(self, base: Path) -> None:
        thesis = base / "envs" / "jupyter" / "thesis.tex"
        thesis.parent.mkdir(parents=True)
        thesis.touch()
        with pytest.raises(specs.Refusal, match="is no conda environment; move it away"):
            run(base)
        assert thesis.exists()

    def test_an_installation_that_was_killed_is_done_again_although_the_names_are_there(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0")
        run(base)
        environment = records.Environment(base / "envs" / "jupyter", base)
        environment.begun_file.write_text("install\n")
        assert run(base)["changed"] is True
        assert run(base)["changed"] is False

    def test_a_record_cut_short_is_removed_and_its_package_installed_again(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0", "tornado-6.5-0")
        run(base)
        broken = base / "envs" / "jupyter" / "conda-meta" / "tornado-6.5-0.json"
        broken.write_text('{"name": "torn')
        assert run(base)["changed"] is True
        assert calls(base)[1][-1] == "tornado"
        assert json.loads(broken.read_text())

    def test_a_good_environment_of_another_hand_is_used_as_it_is(self, base: Path) -> None:
        record(base / "envs" / "jupyter", "notebook-7.6.5-0")
        result = run(base)
        assert (result["changed"], result["revision"]) == (False, "")
        assert not (base / "envs" / "jupyter" / "conda-meta" / "nbfleet").exists()

    def test_a_lacking_environment_of_another_hand_is_refused_unless_adopted(self, base: Path) -> None:
        record(base / "envs" / "jupyter", "six-1.17-0")
        fake(base, "notebook-7.6.5-0")
        with pytest.raises(specs.Refusal, match="was not made by nbfleet and lacks notebook>=7"):
            run(base)
        assert run(base, adopt=True)["changed"] is True

    def test_the_base_environment_can_be_used_as_in_the_tutorial(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0")
        assert run(base, environment=str(base))["changed"] is True
        assert calls(base)[0][0] == "install"
        assert run(base, environment=str(base))["changed"] is False

    def test_a_frozen_base_is_left_alone_with_its_reason(self, base: Path) -> None:
        (base / "conda-meta" / "frozen").write_text('{"message": "managed by ops"}')
        with pytest.raises(specs.Refusal, match=r"is frozen \(managed by ops\)"):
            run(base, environment=str(base))

    def test_a_second_conda_waits_and_then_says_for_what(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0")
        with (
            running.one_at_a_time(base, seconds=1),
            pytest.raises(specs.Refusal, match="another run has used the conda in"),
        ):
            run(base, timeout=0)

    def test_who_only_waited_for_another_run_has_changed_nothing(
        self, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        @contextlib.contextmanager
        def meanwhile(_prefix: Path, *, seconds: float) -> Iterator[int]:  # noqa: ARG001
            record(base / "envs" / "jupyter", "notebook-7.4-0")
            yield 0

        monkeypatch.setattr(running, "one_at_a_time", meanwhile)
        done = run(base)
        assert (done["changed"], done["linked_by"], calls(base)) == (False, "", [])

    def test_of_two_runs_at_once_one_makes_the_environment_and_the_other_finds_it(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0")
        program = base / "bin" / "conda"
        program.write_text(program.read_text().replace("\nprint(", "\nimport time; time.sleep(0.5)\nprint("))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            done = [pool.submit(run, base, generations=True) for _ in range(2)]
        assert sorted(one.result()["changed"] for one in done) == [False, True]
        assert {one.result()["environment"] for one in done} == {str(base / "envs" / "jupyter-1")}
        assert sorted(path.name for path in (base / "envs").iterdir()) == ["jupyter", "jupyter-1"]
        assert len(calls(base)) == 1

    def test_conda_that_never_ends_is_ended(self, base: Path) -> None:
        (base / "bin" / "conda").write_text("#!/bin/sh\nexec sleep 60\n")
        with pytest.raises(specs.Refusal, match="did not finish within 1 s"):
            run(base, timeout=1)


class TestLock:
    def test_it_is_installed_without_a_solve_and_only_once(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0", "six-1.17-0")
        text = lock("notebook-7.6.5-0", "six-1.17-0")
        assert run(base, lock=text)["changed"] is True
        assert calls(base)[0][-2] == "--file"
        assert run(base, lock=text)["changed"] is False
        assert list(base.glob(".nbfleet-lock*")) == []

    def test_another_list_changes_the_environment_in_place(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0", "six-1.17-0")
        run(base, lock=lock("notebook-7.6.5-0", "six-1.17-0"))
        fake(base, "notebook-7.6.6-0")
        result = run(base, lock=lock("notebook-7.6.6-0"))
        assert result["diff"][0]["before"] == "notebook-7.6.5-0\nsix-1.17-0\n"
        assert result["diff"][0]["after"] == "notebook-7.6.6-0\n"
        meta = base / "envs" / "jupyter" / "conda-meta"
        assert sorted(file.name for file in meta.glob("*-*.json")) == ["notebook-7.6.6-0.json"]
        assert [call[0] for call in calls(base)] == ["create", "install", "remove"]
        assert run(base, lock=lock("notebook-7.6.6-0"))["changed"] is False

    def test_what_the_user_added_stays_with_what_it_needs(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0", "six-1.17-0", "attrs-26-0")
        run(base, lock=lock("notebook-7.6.5-0", "six-1.17-0", "attrs-26-0"))
        meta = base / "envs" / "jupyter" / "conda-meta"
        (meta / "mine-1-0.json").write_text(json.dumps({"sha256": SHA, "depends": ["six >=1"]}))
        assert run(base, lock=lock("notebook-7.6.5-0", "six-1.17-0", "attrs-26-0"))["changed"] is False
        fake(base, "notebook-7.6.6-0")
        run(base, lock=lock("notebook-7.6.6-0"))
        kept = ["mine-1-0.json", "notebook-7.6.6-0.json", "six-1.17-0.json"]
        assert sorted(file.name for file in meta.glob("*-*.json")) == kept
        (meta / "mine-1-0.json").unlink()
        assert run(base, lock=lock("notebook-7.6.6-0"))["diff"][0]["before"] == "six-1.17-0\n"
        assert sorted(file.name for file in meta.glob("*-*.json")) == ["notebook-7.6.6-0.json"]

    def test_a_failed_replacement_gives_the_old_environment_back(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0")
        run(base, lock=lock("notebook-7.6.5-0"))
        fake(base, makes=False, status=1, answer={"exception_name": "ChecksumMismatchError", "url": "http://m/x.conda"})
        with pytest.raises(specs.Refusal, match=r"http://m/x.conda is not what its hash says"):
            run(base, lock=lock("notebook-7.6.6-0"))
        assert run(base, lock=lock("notebook-7.6.5-0"))["changed"] is False
        assert sorted(path.name for path in (base / "envs").iterdir()) == ["jupyter"]

    def test_another_hash_is_another_package(self) -> None:
        assert locks.lock_difference({"six-1-0": "b" * 64}, {"six-1-0": {SHA}}) == ["six-1-0"]
        assert locks.lock_difference({"six-1-0": "b" * 32}, {"six-1-0": {SHA}}) == []

    def test_one_for_another_platform_is_refused_with_both_names(self, base: Path) -> None:
        with pytest.raises(specs.Refusal, match="the lock is for linux-aarch64 and this machine is linux-64"):
            run(base, lock=lock("notebook-7.6.5-0", platform="linux-aarch64"))

    def test_one_without_hashes_is_refused(self, base: Path) -> None:
        with pytest.raises(specs.Refusal, match=r"no hash for notebook-7\.6\.5-0\.conda"):
            run(base, lock=lock("notebook-7.6.5-0", digest=""))

    def test_one_that_lacks_what_is_asked_for_is_refused(self, base: Path) -> None:
        with pytest.raises(specs.Refusal, match="the lock does not hold notebook>=7"):
            run(base, lock=lock("six-1.17-0"))

    def test_the_base_environment_cannot_be_locked(self, base: Path) -> None:
        with pytest.raises(specs.Refusal, match="cannot be applied to the base environment"):
            run(base, environment=str(base), lock=lock("notebook-7.6.5-0"))

    @pytest.mark.parametrize("text", ["", "notebook\n", "@EXPLICIT\n", "@EXPLICIT\nhttp://m/noarch/readme.txt#" + SHA])
    def test_a_file_that_is_no_lock_is_refused(self, text: str) -> None:
        with pytest.raises(specs.Refusal):
            locks.parse_lock(text, "linux-64")


class TestWords:
    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (
                {"exception_name": "PackagesNotFoundInChannelsError", "packages": ["six=99"]},
                "conda does not find six=99 in conda-forge; correct",
            ),
            (
                {"exception_name": "CondaHTTPError", "status_code": "000", "url": "http://c/linux-64"},
                "conda cannot reach http://c/linux-64; check from the account",
            ),
            (
                {"exception_name": "CondaHTTPError", "status_code": 403, "url": "http://c"},
                "the channel http://c refuses access (HTTP 403)",
            ),
            (
                {"exception_name": "CondaHTTPError", "status_code": 503, "url": "http://c"},
                "the channel http://c answered HTTP 503; run again later",
            ),
            (
                {"exception_name": "CondaMultiError", "errors": [{"message": "[Errno 28] No space left on device"}]},
                "the disk is full, by bytes or by the number of its files (inodes); free some space",
            ),
            (
                {
                    "exception_name": "RattlerUnsatisfiableError",
                    "message": "Cannot solve the request because of: The following packages are incompatible\n"
                    "├─ jupyterlab 4.6.4.* can be installed\n└─ notebook 7.6.5.* cannot be installed",
                },
                "(jupyterlab 4.6.4.* can be installed; notebook 7.6.5.* cannot be installed)",
            ),
            (
                {"exception_name": "CondaMultiError", "errors": [{"exception_name": "LockError", "message": "Failed"}]},
                "another conda is at work with the package cache of /base; wait for its end and run again",
            ),
            ({}, "conda ended with status 1 (RuntimeError: last); run again"),
        ],
    )
    def test_a_failure_is_one_sentence_with_the_next_step(self, answer: dict[str, Any], words: str) -> None:
        said = running.explain(answer, "Traceback\nRuntimeError: last\n", 1, ["conda-forge"], "/base")
        assert words in said
        assert "\n" not in said

    def test_conda_s_answer_is_found_behind_other_lines(self) -> None:
        assert running.read_answer('ERROR conda.core.link: x\n{\n "success": true\n}\n') == {"success": True}
        assert running.read_answer("Traceback\n") == {}

    def test_conda_inherits_neither_another_conda_nor_a_python_path(self) -> None:
        given = {"HOME": "/h", "CONDA_PREFIX": "/x", "CONDA_EXE": "/x", "PYTHONPATH": "/y", "https_proxy": "p"}
        clean = running.conda_environ(given)
        assert clean["HOME"] == "/h"
        assert clean["https_proxy"] == "p"
        assert not {"CONDA_PREFIX", "CONDA_EXE", "PYTHONPATH"} & clean.keys()


class TestActivation:
    def make(self, base: Path, script: str) -> Path:
        fake(base, "notebook-7.6.5-0")
        run(base)
        folder = base / "envs" / "jupyter" / "etc" / "conda" / "activate.d"
        folder.mkdir(parents=True)
        (folder / "proj.sh").write_text(script)
        return base / "envs" / "jupyter" / "etc" / "nbfleet.env"

    def test_what_the_scripts_set_lands_in_a_private_file(self, base: Path) -> None:
        file = self.make(base, 'export PROJ_DATA="$CONDA_PREFIX/share/proj"; echo noise; export ODD=\'a "b" $c\'\n')
        result = run(base, variables_file=str(file))
        assert result["changed"] is True
        data = f"{base}/envs/jupyter/share/proj"
        assert file.read_text() == f'ODD="a \\"b\\" \\$c"\nPROJ_DATA="{data}"\n'
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "share/proj" not in json.dumps(result["diff"])
        assert run(base, variables_file=str(file))["changed"] is False

    def test_they_are_part_of_the_revision(self, base: Path) -> None:
        file = self.make(base, "export A=1\n")
        first = run(base, variables_file=str(file))["revision"]
        (base / "envs" / "jupyter" / "etc" / "conda" / "activate.d" / "proj.sh").write_text("export A=2\n")
        assert run(base, variables_file=str(file))["revision"] != first

    def test_without_scripts_there_is_no_file(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0")
        file = base / "envs" / "jupyter" / "etc" / "nbfleet.env"
        run(base, variables_file=str(file))
        assert not file.exists()


class TestKernels:
    def register(self, base: Path, **params: Any) -> dict[str, Any]:
        environment = base / "envs" / "kernel-stats"
        jupyter = base / "envs" / "jupyter"
        names: dict[str, Any] = {"environment": str(environment), "specs": ["ipykernel"], "kernel_for": str(jupyter)}
        fake(base, "ipykernel-7.4-0")
        if not params.get("check"):
            own = environment / "share" / "jupyter" / "kernels" / "python3" / "kernel.json"
            own.parent.mkdir(parents=True, exist_ok=True)
            own.write_text(json.dumps({"argv": ["python", "-m", "ipykernel_launcher"], "display_name": "Python 3"}))
            record(environment, "ipykernel-7.4-0")
        return run(base, **names, kernel_name="stats", kernel_display_name="Statistics", **params)

    def test_one_is_registered_with_an_absolute_program(self, base: Path) -> None:
        assert self.register(base)["changed"] is True
        file = base / "envs" / "jupyter" / "share" / "jupyter" / "kernels" / "stats" / "kernel.json"
        found = json.loads(file.read_text())
        assert found["argv"][0] == f"{base}/envs/kernel-stats/bin/python"
        assert found["display_name"] == "Statistics"
        assert found["env"]["PYTHONNOUSERSITE"] == "1"
        assert found["env"]["PATH"] == f"{base}/envs/kernel-stats/bin:${{PATH}}"
        assert self.register(base)["changed"] is False

    def test_a_dry_run_registers_nothing(self, base: Path) -> None:
        assert self.register(base, check=True)["changed"] is True
        assert not (base / "envs").exists()

    def test_a_kernel_of_another_hand_keeps_its_name(self, base: Path) -> None:
        file = base / "envs" / "jupyter" / "share" / "jupyter" / "kernels" / "stats" / "kernel.json"
        file.parent.mkdir(parents=True)
        file.write_text('{"argv": ["x"]}')
        with pytest.raises(specs.Refusal, match="was not made by nbfleet; give the kernel another name"):
            self.register(base)

    def test_an_environment_without_a_kernel_says_what_to_add(self, tmp_path: Path) -> None:
        with pytest.raises(specs.Refusal, match="holds no kernel; add ipykernel"):
            kernels.kernelspec(tmp_path, "x", {})


class TestAbsent:
    def test_what_we_made_goes_and_nothing_else(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0")
        run(base)
        theirs = base / "envs" / "thesis"
        record(theirs, "six-1.17-0")
        (base / ".nbfleet" / "rattler-x").mkdir(parents=True)
        foretold = run(base, state="absent", check=True)
        assert (foretold["changed"], foretold["removed"]) == (True, [str(base / "envs" / "jupyter")])
        assert (base / "envs" / "jupyter").exists()
        assert run(base, state="absent")["changed"] is True
        assert not (base / "envs" / "jupyter").exists()
        assert theirs.exists()
        assert run(base, state="absent")["changed"] is False
        assert [path.name for path in base.iterdir() if path.name.startswith(".nbfleet")] == []

    def test_an_environment_of_another_hand_stays(self, base: Path) -> None:
        record(base / "envs" / "jupyter", "notebook-7.6.5-0")
        assert run(base, state="absent")["changed"] is False
        assert (base / "envs" / "jupyter").exists()

    def test_the_base_environment_stays_and_loses_our_marker(self, base: Path) -> None:
        fake(base, "notebook-7.6.5-0")
        run(base, environment=str(base))
        run(base, environment=str(base), state="absent")
        assert (base / "bin" / "conda").exists()
        assert not (base / "conda-meta" / "nbfleet").exists()

    def test_what_a_killed_creation_left_goes(self, base: Path) -> None:
        environment = records.Environment(base / "envs" / "jupyter", base)
        environment.begun_file.write_text("create\n")
        (environment.path / "lib").mkdir(parents=True)
        run(base, state="absent")
        assert not environment.path.exists()


class TestAccountFiles:
    def params(self, home: Path, **more: Any) -> dict[str, Any]:
        state = home / ".config" / "nbfleet"
        folder = {"path": str(state), "mode": "0700"}
        config = {"path": str(state / "config.py"), "content": "c = 1\n", "mode": "0600"}
        kept = {"secret": str(state / "token"), "new_secret": False, "record": str(state / "made.json")}
        network = {"variables_file": str(state / "network.env"), "variables": {}}
        claim = {"claim": str(state / "machine"), "claimant": ["0" * 32, "pc7"]}
        return {"folders": [folder], "files": [config], **kept, **network, **claim, **more}

    def converge(self, params: dict[str, Any]) -> list[Any]:
        changes: list[Any] = files.wanted_changes(params)
        files.carry_out(changes, Path(params["record"]), params["variables"])
        return changes

    def test_everything_is_made_once(self, tmp_path: Path) -> None:
        params = self.params(tmp_path)
        assert [change.kind for change in self.converge(params)] == ["claim", "folder", "file", "secret"]
        assert self.converge(params) == []
        assert stat.S_IMODE((tmp_path / ".config" / "nbfleet").stat().st_mode) == 0o700

    @pytest.mark.parametrize("theirs", [[], ["mine.cpython-311.pyc"]])
    def test_what_python_compiled_of_our_own_goes_too(self, tmp_path: Path, theirs: list[str]) -> None:
        params = self.params(tmp_path)
        self.converge(params)
        compiled = tmp_path / ".config" / "nbfleet" / "__pycache__"
        compiled.mkdir()
        for name in ["config.cpython-311.pyc", *theirs]:
            (compiled / name).touch()
        files.remove(*files.unwanted(params))
        assert [path.name for path in tmp_path.rglob("*.*") if path.is_file()] == theirs
        assert (tmp_path / ".config").exists() is bool(theirs)

    def test_removal_takes_the_folders_that_two_runs_at_once_made_and_nobody_else_s(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        params = self.params(tmp_path / "theirs")
        real = Path.mkdir

        def late(path: Path) -> None:
            if path.name == "theirs":
                real(path)  # by somebody else
            elif path.name == "nbfleet":
                monkeypatch.undo()
                self.converge(params)  # by the other run
            real(path)

        changes = files.wanted_changes({**params, "claim": ""})
        monkeypatch.setattr(Path, "mkdir", late)
        files.carry_out(changes, Path(params["record"]), {})
        assert [path.name for path in files.recorded(Path(params["record"]))] == [".config", "nbfleet"]
        files.remove(*files.unwanted(params))
        assert list(tmp_path.rglob("*")) == [tmp_path / "theirs"]

    def test_a_file_where_a_folder_is_wanted_is_named_and_stays(self, tmp_path: Path) -> None:
        (tmp_path / ".config").write_text("mine")
        with pytest.raises(NotADirectoryError, match="config"):
            self.converge(self.params(tmp_path))
        assert (tmp_path / ".config").read_text() == "mine"

    def test_a_claim_is_his_who_came_first_under_either_of_his_names(self, tmp_path: Path) -> None:
        self.converge(self.params(tmp_path))
        claim = tmp_path / ".config" / "nbfleet" / "machine"
        assert files.another_s(str(claim), ["1" * 32, "pc7"]) == ""
        assert "pc7, which has this home, too, was first" in files.another_s(str(claim), ["1" * 32, "pc8"])
        late = files.Change("claim", claim, "", "pc8\n", 0o600)  # compared before the other one wrote
        with pytest.raises(FileExistsError):
            files.carry_out([late], tmp_path / "made.json", {})
        assert claim.read_text() == f"{'0' * 32} pc7\n"

    def test_what_is_to_be_python_and_is_none_is_named_with_its_line(self, tmp_path: Path) -> None:
        file = {"path": str(tmp_path / "config.py"), "content": "c = 1\nc.port = (\n", "python": True}
        assert "in its line 2 ('(' was never closed: c.port = ()" in files.mistake([file])
        assert files.mistake([{**file, "content": "c = 1\n"}, {**file, "python": False}]) == ""

    def test_the_secret_is_64_digits_for_its_owner_alone_and_in_no_diff(self, tmp_path: Path) -> None:
        changes = self.converge(self.params(tmp_path))
        token = tmp_path / ".config" / "nbfleet" / "token"
        assert re.fullmatch(rb"[0-9a-f]{64}", token.read_bytes())
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert token.read_text() not in repr(changes)

    @pytest.mark.parametrize("content", ["", "short", "a" * 64 + "\n", "A" * 64])
    def test_a_secret_that_would_leave_the_server_open_or_shut_is_replaced(self, tmp_path: Path, content: str) -> None:
        self.converge(self.params(tmp_path))
        token = tmp_path / ".config" / "nbfleet" / "token"
        token.write_text(content)
        assert [change.kind for change in self.converge(self.params(tmp_path))] == ["secret"]
        assert files.is_secret(token)

    def test_a_new_secret_is_another_one(self, tmp_path: Path) -> None:
        self.converge(self.params(tmp_path))
        token = tmp_path / ".config" / "nbfleet" / "token"
        before = token.read_text()
        assert [change.kind for change in self.converge(self.params(tmp_path, new_secret=True))] == ["secret"]
        assert files.is_secret(token)
        assert token.read_text() != before

    def test_variables_are_for_their_owner_alone_in_no_diff_and_gone_when_there_are_none(self, tmp_path: Path) -> None:
        self.converge(self.params(tmp_path))
        given = {"no_proxy": "localhost", "https_proxy": 'http://me:ge"heim@p:1'}
        made = self.converge(self.params(tmp_path, variables=given))
        file = tmp_path / ".config" / "nbfleet" / "network.env"
        assert file.read_text() == 'https_proxy="http://me:ge\\"heim@p:1"\nno_proxy="localhost"\n'
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert self.converge(self.params(tmp_path, variables=given)) == []
        changed = self.converge(self.params(tmp_path, variables={**given, "https_proxy": "http://me:other@p:1"}))
        assert [change.after for change in made + changed] == [
            "https_proxy\nno_proxy\n",
            "https_proxy=another value\nno_proxy\n",
        ]
        assert [change.kind for change in self.converge(self.params(tmp_path))] == ["variables"]
        assert not file.exists()

    def test_a_wrong_mode_is_a_change_and_the_secret_stays(self, tmp_path: Path) -> None:
        self.converge(self.params(tmp_path))
        token = tmp_path / ".config" / "nbfleet" / "token"
        before = token.read_text()
        token.chmod(0o644)
        assert [change.after for change in self.converge(self.params(tmp_path))] == ["mode 0600\n"]
        assert token.read_text() == before

    def test_removal_takes_the_folders_that_had_to_be_made_and_no_others(self, tmp_path: Path) -> None:
        (tmp_path / ".config").mkdir()
        params = self.params(tmp_path)
        self.converge(params)
        files.remove(*files.unwanted(params))
        assert list(tmp_path.rglob("*")) == [tmp_path / ".config"]

    def test_removal_leaves_a_folder_that_holds_something_of_the_user(self, tmp_path: Path) -> None:
        params = self.params(tmp_path)
        self.converge(params)
        theirs = tmp_path / ".config" / "nbfleet" / "notes"
        theirs.touch()
        files.remove(*files.unwanted(params))
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]
