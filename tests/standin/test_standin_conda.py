"""conda of the stand-in: environments, lists, locks, runs; shapes and exit codes as recorded from the real one."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.standin.conftest import PATH, Conda, execute, is_root

pytestmark = pytest.mark.sampled("stand-in")
FORGE = ("--override-channels", "-c", "conda-forge")


def test_version_is_answered_without_anything_else(conda: Conda) -> None:
    (conda.home / ".condarc").write_text("channels: [a\n")
    assert conda("--version").out == "conda 26.7.1\n"
    done = execute(conda.prefix / "bin" / "python", "-m", "conda", "--version", home=conda.home)
    assert done.out == "conda 26.7.1\n"


def test_info_has_the_recorded_keys(conda: Conda) -> None:
    info = conda("info", "--json").json
    wanted = {
        "platform", "conda_version", "root_prefix", "conda_prefix", "root_writable", "pkgs_dirs", "envs_dirs",
        "default_prefix", "active_prefix", "conda_shlvl", "channels", "user_rc_path", "sys_rc_path", "offline", "envs",
        "envs_details", "python_version", "user_agent", "config_files", "virtual_pkgs", "env_vars",
    }  # fmt: skip
    assert wanted <= set(info)
    assert info["root_prefix"] == str(conda.prefix)
    assert info["pkgs_dirs"] == [f"{conda.prefix}/pkgs", f"{conda.home}/.conda/pkgs"]
    assert info["channels"] == [f"{conda.url}/conda-forge/linux-64", f"{conda.url}/conda-forge/noarch"]
    assert conda("info", "--base").out == f"{conda.prefix}\n"


def test_usage_errors_end_with_2(conda: Conda) -> None:
    done = conda("frobnicate")
    assert done.code == 2
    assert done.err.startswith("usage: conda [-h] [-v] [--no-plugins] [-V] COMMAND ...\n")
    assert "argument COMMAND: invalid choice: 'frobnicate'" in done.err
    assert conda("install", "--frobnicate", "x").err.endswith("conda: error: unrecognized arguments: --frobnicate\n")


def test_installing_reports_what_it_did_and_then_that_there_is_nothing_to_do(conda: Conda, env: Path) -> None:
    first = conda("install", "-y", "--json", "-p", env, *FORGE, "webcolors").json
    assert list(first) == ["success", "actions", "prefix"]
    assert first["actions"]["PREFIX"] == str(env)
    link = next(item for item in first["actions"]["LINK"] if item["name"] == "webcolors")
    assert set(link) == {
        "base_url", "build_number", "build_string", "channel", "dist_name", "name", "platform", "version",
    }  # fmt: skip
    assert (link["base_url"], link["channel"]) == (f"{conda.url}/conda-forge", "conda-forge")
    second = conda("install", "-y", "--json", "-p", env, *FORGE, "webcolors")
    assert second.json == {"success": True, "message": "All requested packages already installed."}
    assert second.code == 0
    plain = conda("install", "-y", "-p", env, *FORGE, "webcolors")
    assert "\n# All requested packages already installed.\n" in plain.out


def test_a_spec_may_name_version_and_build(conda: Conda, env: Path) -> None:
    foreseen = ("create", "-y", "--json", "--dry-run", "-p", env.with_name("exact"), *FORGE)
    (six,) = (one for one in conda(*foreseen, "six").json["actions"]["LINK"] if one["name"] == "six")
    exact = f"six={six['version']}={six['build_string']}"
    again = conda(*foreseen, exact)
    assert six in again.json["actions"]["LINK"]
    refused = conda(*foreseen, f"six={six['version']}=other_0")
    assert refused.json["exception_name"] == "PackagesNotFoundInChannelsError"


def test_a_dry_run_changes_nothing(conda: Conda, env: Path) -> None:
    before = sorted(path for path in env.rglob("*"))
    done = conda("install", "-y", "--json", "--dry-run", "-p", env, *FORGE, "six")
    assert done.json["dry_run"] is True
    assert [item["name"] for item in done.json["actions"]["LINK"]] == ["six"]
    plain = conda("install", "-y", "--dry-run", "-p", env, *FORGE, "six")
    assert (plain.code, plain.err) == (0, "\nDryRunExit: Dry run. Exiting.\n\n")
    assert "Target prefix: <dry run>" in plain.out
    new = conda("create", "-y", "--json", "--dry-run", "-p", env.with_name("new"), *FORGE, "six")
    assert new.json["success"] is True
    assert not env.with_name("new").exists()
    assert sorted(path for path in env.rglob("*")) == before


def test_downgrade_keeps_its_version_until_the_name_is_asked_for_again(conda: Conda, env: Path) -> None:
    assert conda("install", "-y", "-q", "-p", env, *FORGE, "webcolors=24").code == 0
    assert conda.names(env)["webcolors"] == "24.11.1"
    assert conda("install", "-y", "-q", "-p", env, *FORGE, "six").code == 0
    assert conda.names(env)["webcolors"] == "24.11.1"
    done = conda("install", "-y", "--json", "-p", env, *FORGE, "webcolors").json
    assert [item["version"] for item in done["actions"]["UNLINK"]] == ["24.11.1"]
    assert conda.names(env)["webcolors"] == "25.10.0"
    assert len(list((env / "conda-meta").glob("webcolors-*.json"))) == 1
    assert execute(env / "bin" / "python", "-c", "import webcolors", home=conda.home).code == 0


def test_update_and_pins(conda: Conda, env: Path) -> None:
    conda("install", "-y", "-q", "-p", env, *FORGE, "webcolors=24.11.1", "six=1.16.0")
    (env / "conda-meta" / "pinned").write_text("webcolors 24.*\n")
    assert conda("update", "-y", "-q", "-p", env, *FORGE, "webcolors", "six").code == 0
    names = conda.names(env)
    assert (names["webcolors"], names["six"]) == ("24.11.1", "1.17.0")
    missing = conda("update", "-y", "--json", "-p", env, *FORGE, "tqdm")
    assert missing.json["exception_name"] == "PackageNotInstalledError"


def test_python_files_are_compiled_hard_linked_and_recorded(conda: Conda, tmp_path: Path) -> None:
    env = conda.create(tmp_path / "env", "python", "webcolors")
    record = json.loads(next((env / "conda-meta").glob("webcolors-*.json")).read_text())
    source = env / "lib/python3.11/site-packages/webcolors/__init__.py"
    pyc = "lib/python3.11/site-packages/webcolors/__pycache__/__init__.cpython-311.pyc"
    assert source.stat().st_nlink >= 2 or env.stat().st_dev != conda.prefix.stat().st_dev
    assert (env / pyc).is_file()
    assert pyc in record["files"]
    assert {"_path": pyc, "path_type": "pyc_file"} in record["paths_data"]["paths"]
    assert record["url"].startswith(f"{conda.url}/conda-forge/noarch/webcolors-")
    assert len(record["sha256"]) == 64
    assert conda("remove", "-y", "-q", "-p", env, *FORGE, "webcolors").code == 0
    assert not source.parent.exists()


def test_removing_takes_dependents_along_and_leaves_no_files(conda: Conda, env: Path) -> None:
    conda("install", "-y", "-q", "-p", env, *FORGE, "python-dateutil", "arrow")
    done = conda("remove", "-y", "--json", "-p", env, *FORGE, "python-dateutil").json
    assert {item["name"] for item in done["actions"]["UNLINK"]} >= {"python-dateutil", "arrow"}
    assert "arrow" not in conda.names(env)
    gone = conda("remove", "-y", "--json", "-p", env, *FORGE, "arrow")
    assert (gone.code, gone.json["packages"]) == (1, ["arrow"])


def test_an_environment_is_removed_as_a_whole_but_base_is_not(conda: Conda, env: Path) -> None:
    done = conda("remove", "-y", "--all", "-p", env)
    assert done.code == 0
    assert not env.exists()
    base = conda("remove", "-y", "--all", "-n", "base")
    assert base.code == 1
    assert "CondaEnvironmentError: Cannot remove current environment. Deactivate and run conda remove again" in base.err
    itself = conda("remove", "-y", "-n", "base", *FORGE, "conda")
    assert "RemoveError: Conda cannot remove itself." in itself.err


def test_lists(conda: Conda, env: Path) -> None:
    items = conda("list", "-p", env, "--json").json
    assert [item["name"] for item in items] == sorted(item["name"] for item in items)
    assert set(items[0]) == {
        "base_url", "build_number", "build_string", "channel", "dist_name", "name", "platform", "version",
    }  # fmt: skip
    assert {item["channel"] for item in items} == {"conda-forge"}
    nothing = conda("list", "-p", env, "--json", "^six$")
    assert (nothing.code, nothing.json["message"]) == (1, "No packages match '^six$'.")
    assert list(nothing.json) == ["caused_by", "error", "exception_name", "exception_type", "message"]
    one = conda("list", "-p", env, "-f", "python", "--json").json
    assert [item["name"] for item in one] == ["python"]
    absent = conda("list", "-p", env, "-f", "six", "--json").json
    assert absent["exception_name"] == "PackageNotInstalledError"
    assert conda("list", "-p", env).out.splitlines()[2] == (
        "# Name                     Version          Build            Channel"
    )


def test_a_package_that_pip_brought_is_listed_as_pypi(conda: Conda, env: Path) -> None:
    info = env / "lib/python3.11/site-packages/My_Own-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: My_Own\nVersion: 1.0\n\n")
    mine = next(item for item in conda("list", "-p", env, "--json").json if item["channel"] == "pypi")
    assert mine == {
        "base_url": "https://conda.anaconda.org/pypi", "build_number": 0, "build_string": "pypi_0", "channel": "pypi",
        "dist_name": "my-own-1.0-pypi_0", "name": "my-own", "platform": "pypi", "version": "1.0",
    }  # fmt: skip


@pytest.mark.parametrize(("option", "length"), [("--sha256", 64), ("--md5", 32)])
def test_a_lock_makes_the_same_environment_again(
    conda: Conda, env: Path, tmp_path: Path, option: str, length: int
) -> None:
    conda("install", "-y", "-q", "-p", env, *FORGE, "webcolors=24.11.1")
    text = conda("list", "-p", env, "--explicit", option).out
    assert text.splitlines()[:5] == [
        "# This file may be used to create an environment using:",
        "# $ conda create --name <env> --file <this file>",
        "# platform: linux-64",
        "# created-by: conda 26.7.1",
        "@EXPLICIT",
    ]
    assert all(re.fullmatch(rf"http://\S+\.conda#[0-9a-f]{{{length}}}", line) for line in text.splitlines()[5:])
    lock = tmp_path / "lock.txt"
    lock.write_text(text)
    done = conda("create", "-y", "-q", "--json", "-p", tmp_path / "again", "--file", lock)
    assert (done.code, done.out) == (0, "")
    assert conda("list", "-p", tmp_path / "again", "--explicit", option).out == text
    assert conda("install", "-y", "--json", "-p", tmp_path / "again", "--file", lock).out == ""
    assert conda("install", "-y", "-p", tmp_path / "again", "--file", lock).code == 0


def test_a_lock_does_not_remove_what_it_does_not_name(conda: Conda, env: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(conda("list", "-p", env, "--explicit", "--sha256").out)
    conda("install", "-y", "-q", "-p", env, *FORGE, "six")
    assert conda("install", "-y", "-q", "-p", env, "--file", lock).code == 0
    assert "six" in conda.names(env)


def test_a_file_of_specs_is_solved(conda: Conda, tmp_path: Path) -> None:
    specs = tmp_path / "specs.txt"
    specs.write_text("# mine\nwebcolors=24  # old\nsix\n")
    done = conda("create", "-y", "-q", "-p", tmp_path / "new", *FORGE, "--file", specs)
    assert done.code == 0
    assert conda.names(tmp_path / "new")["webcolors"] == "24.11.1"


def test_creating_over_an_environment_wipes_it_but_keeps_a_plain_folders_files(
    conda: Conda, env: Path, tmp_path: Path
) -> None:
    (env / "mine").write_text("")
    asked = conda("create", "-q", "-p", env, *FORGE, "six", given="")
    assert (asked.code, asked.err) == (0, "\nCondaSystemExit: Exiting.\n\n")
    assert asked.out.startswith(f"WARNING: A conda environment already exists at '{env}'\n")
    assert (env / "mine").exists()
    assert conda("create", "-q", "-y", "-p", env, *FORGE, "six").code == 0
    assert not (env / "mine").exists()
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "precious").write_text("")
    assert conda("create", "-q", "-y", "-p", plain, *FORGE, "six").code == 0
    assert (plain / "precious").exists()


def test_without_y_and_without_input_an_install_goes_ahead(conda: Conda, env: Path) -> None:
    done = conda("install", "-p", env, *FORGE, "six", given="")
    assert done.code == 0
    assert "Proceed ([y]/n)? " in done.out
    assert "six" in conda.names(env)


def test_a_missing_file_comes_back_only_by_force(conda: Conda, tmp_path: Path) -> None:
    env = conda.create(tmp_path / "env", "python", "six")
    victim = env / "lib/python3.11/site-packages/six.py"
    victim.unlink()
    assert "already installed" in conda("install", "-y", "-p", env, *FORGE, "six").out
    assert not victim.exists()
    assert conda("install", "-y", "-q", "--force-reinstall", "-p", env, *FORGE, "six").code == 0
    assert victim.exists()


def test_named_environments_are_found_and_listed(conda: Conda) -> None:
    try:
        assert conda("create", "-y", "-q", "-n", "named", *FORGE, "six").code == 0
        answer = conda("env", "list", "--json").json
        path = f"{conda.prefix}/envs/named"
        assert path in answer["envs"]
        assert answer["envs_details"][path]["name"] == "named"
        assert f"named                    {path}" in conda("env", "list").out
        assert path in (conda.home / ".conda" / "environments.txt").read_text().splitlines()
        assert "six" in {item["name"] for item in conda("list", "-n", "named", "--json").json}
    finally:
        conda("remove", "-y", "--all", "-n", "named")
    assert conda("list", "-n", "named").code == 1


def test_the_history_names_commands_and_specs(conda: Conda, env: Path) -> None:
    conda("install", "-y", "-q", "-p", env, *FORGE, "webcolors>=24")
    lines = (env / "conda-meta" / "history").read_text().splitlines()
    assert f"# cmd: {conda.prefix}/bin/conda install -y -q -p {env} {' '.join(FORGE)} webcolors>=24" in lines
    assert lines[-1] == "# update specs: ['webcolors>=24']"
    assert re.fullmatch(rf"\+{conda.url}/conda-forge/noarch::webcolors-25\S+", lines[-2])


def test_offline_works_from_the_cache_and_only_from_it(conda: Conda, tmp_path: Path) -> None:
    conda.create(tmp_path / "first", "six")
    assert conda("create", "-y", "-q", "--offline", "-p", tmp_path / "second", *FORGE, "six").code == 0
    cold = conda(
        "create",
        "-y",
        "--json",
        "--offline",
        "-p",
        tmp_path / "e",
        "--override-channels",
        "-c",
        "http://h.invalid/x",
        "six",
    )
    assert (cold.code, cold.json["exception_name"]) == (1, "FileNotFoundError")


def test_clean_empties_the_cache_and_environments_go_on_working(conda: Conda, tmp_path: Path) -> None:
    cache = {"CONDA_PKGS_DIRS": str(tmp_path / "cache")}
    env = tmp_path / "env"
    assert conda("create", "-y", "-q", "-p", env, *FORGE, "python", "six", **cache).code == 0
    answer = conda("clean", "-t", "-i", "-y", "--json", **cache).json
    assert answer["success"] is True
    assert any(name.startswith("six-") for name in answer["tarballs"]["pkg_sizes"][str(tmp_path / "cache")])
    assert list((tmp_path / "cache").glob("*.conda")) == []
    assert not (tmp_path / "cache" / "cache").exists()
    conda("remove", "-y", "--all", "-p", env, **cache)
    assert conda("clean", "-a", "-y", **cache).code == 0
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


class TestRun:
    def test_the_exit_code_comes_through(self, conda: Conda, env: Path) -> None:
        done = conda("run", "-p", env, "python", "-c", "import sys; sys.exit(7)")
        assert done.code == 7
        assert done.err.endswith("`conda run python -c import sys; sys.exit(7)` failed. (See above for error)\n")
        assert conda("run", "-p", env, "no-such-cmd").code == 127
        assert conda("run", "-p", env, "bash", "-c", "kill -TERM $$").code == 143
        missing = conda("run", "-p", env.with_name("nope"), "true")
        assert (missing.code, "EnvironmentLocationNotFound: Not a conda environment" in missing.err) == (1, True)

    def test_the_variables_are_those_of_an_activation(self, conda: Conda, env: Path) -> None:
        lines = conda("run", "-p", env, "env").out.splitlines()
        assert {line for line in lines if line.startswith(("CONDA_P", "CONDA_S", "CONDA_D", "PATH"))} == {
            f"CONDA_PREFIX={env}", f"CONDA_PREFIX_1={conda.prefix}", f"CONDA_PYTHON_EXE={conda.prefix}/bin/python",
            f"CONDA_PROMPT_MODIFIER=({env}) ", "CONDA_SHLVL=2", f"CONDA_DEFAULT_ENV={env}",
            f"PATH={env}/bin:{conda.prefix}/condabin:{PATH}",
        }  # fmt: skip

    def test_stdin_is_passed_on_only_without_capture(self, conda: Conda, env: Path) -> None:
        assert conda("run", "-p", env, "cat", given="hello").out == ""
        assert conda("run", "--no-capture-output", "-p", env, "cat", given="hello").out == "hello"


def _interrupt(conda: Conda, number: signal.Signals, begun: Path, *words: str | Path) -> None:
    """Run conda, and send it a signal as soon as a path is there."""
    child = subprocess.Popen(
        [conda.prefix / "bin" / "conda", *words],
        env={"HOME": str(conda.home), "PATH": PATH},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not begun.exists() and child.poll() is None:
        assert time.monotonic() < deadline, "linking did not begin"
        time.sleep(0.002)
    os.killpg(child.pid, number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert f"CondaSignalInterrupt: Signal interrupt {number.name}" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_linking_takes_the_new_environment_back(
    conda: Conda, tmp_path: Path, number: signal.Signals
) -> None:
    env = tmp_path / "env"
    _interrupt(conda, number, env / "lib", "create", "-y", "-p", env, *FORGE, "python")
    assert not env.exists()
    conda.create(env, "python")


def test_a_signal_while_linking_leaves_an_environment_that_was_there_as_it_was(conda: Conda, env: Path) -> None:
    def tree() -> set[Path]:
        return {path for path in env.rglob("*") if "__pycache__" not in path.parts}

    before = tree()
    begun = env / "lib/python3.11/site-packages/jupyterlab"
    _interrupt(conda, signal.SIGTERM, begun, "install", "-y", "-p", env, *FORGE, "jupyterlab")
    assert tree() == before


@pytest.mark.skipif(is_root(), reason="root may write everywhere; see the same test with a foreign user id below")
def test_a_read_only_environment_is_refused_for_its_owner(conda: Conda, env: Path) -> None:
    (env / "conda-meta").chmod(0o555)
    assert (
        conda("install", "-y", "--json", "-p", env, *FORGE, "six").json["exception_name"]
        == "EnvironmentNotWritableError"
    )


@pytest.mark.skipif(not is_root(), reason="needs root to become somebody else")
def test_somebody_elses_environment_is_refused(installed: Conda, env: Path, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/") and folder != Path("/tmp"):  # noqa: S108 - the walk ends there
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    for folder in installed.prefix.parents:
        if folder != Path("/") and folder != Path("/tmp"):  # noqa: S108
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    home = tmp_path / "nobody"
    home.mkdir()
    os.chown(home, 65534, 65534)
    done = subprocess.run(
        [installed.prefix / "bin" / "conda", "install", "-y", "--json", "-p", env, *FORGE, "six"],
        env={"HOME": str(home), "PATH": PATH}, user=65534, group=65534, extra_groups=[],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["exception_name"], answer["uid"]) == (1, "EnvironmentNotWritableError", 65534)
    own = subprocess.run(
        [installed.prefix / "bin" / "conda", "create", "-y", "-q", "-p", home / "own", *FORGE, "python", "six"],
        env={"HOME": str(home), "PATH": PATH}, user=65534, group=65534, extra_groups=[],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert own.returncode == 0, own.stderr
    assert (home / "own" / "bin" / "python").exists()
