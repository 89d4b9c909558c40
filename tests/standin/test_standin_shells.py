"""Activation in every shell, and Jupyter as a service would start it."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.standin.conftest import PATH, Conda, execute

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sampled("stand-in")
POSIX = [shell for shell in ("bash", "dash", "zsh") if shutil.which(shell)]


@pytest.mark.parametrize("shell", POSIX)
def test_activating_and_going_back(conda: Conda, env: Path, shell: str) -> None:
    script = (
        f'. {conda.prefix}/etc/profile.d/conda.sh; echo "$PATH"; conda activate; echo "$PATH $CONDA_SHLVL '
        f'$CONDA_DEFAULT_ENV"; conda activate {env}; echo "$PATH $CONDA_SHLVL $CONDA_PREFIX_1"; command -v python; '
        'conda deactivate; conda deactivate; echo "$PATH ${CONDA_PREFIX-none}"'
    )
    found = shutil.which(shell)
    assert found
    options = ["-f"] if shell == "zsh" else []
    done = execute(found, *options, "-euc", script, home=conda.home)
    root = conda.prefix
    assert done.err == ""
    assert done.out.splitlines() == [
        f"{root}/condabin:{PATH}",
        f"{root}/bin:{root}/condabin:{PATH} 1 base",
        f"{env}/bin:{root}/condabin:{PATH} 2 {root}",
        f"{env}/bin/python",
        f"{root}/condabin:{PATH} none",
    ]


def test_sourcing_twice_is_harmless_and_silent(conda: Conda) -> None:
    line = f". {conda.prefix}/etc/profile.d/conda.sh; "
    done = execute("/bin/sh", "-euc", line * 2 + 'printf "%s" "$PATH"', home=conda.home)
    assert (done.out, done.err) == (f"{conda.prefix}/condabin:{PATH}", "")


def test_an_unknown_environment_is_an_error_and_changes_nothing(conda: Conda) -> None:
    script = f". {conda.prefix}/etc/profile.d/conda.sh; conda activate nope; echo rc=$? ${{CONDA_PREFIX-none}}"
    done = execute("/bin/bash", "-c", script, home=conda.home)
    assert done.out == "rc=1 none\n"
    assert "EnvironmentNameNotFound: Could not find conda environment: nope" in done.err


def test_scripts_of_packages_are_sourced(conda: Conda, env: Path) -> None:
    for folder, text in (("activate.d", "export MINE=1"), ("deactivate.d", "unset MINE")):
        place = env / "etc" / "conda" / folder
        place.mkdir(parents=True)
        (place / "mine.sh").write_text(text + "\n")
    script = (
        f". {conda.prefix}/etc/profile.d/conda.sh; conda activate {env}; echo ${{MINE-unset}}; conda deactivate; "
        "echo ${MINE-unset}"
    )
    assert execute("/bin/bash", "-euc", script, home=conda.home).out == "1\nunset\n"
    assert conda("run", "-p", env, "sh", "-c", "echo $MINE").out == "1\n"


def test_bin_activate_and_the_prompt(conda: Conda) -> None:
    script = f'PS1=\'$ \'; . {conda.prefix}/bin/activate; echo "[$PS1]"; . {conda.prefix}/bin/deactivate; echo "[$PS1]"'
    assert execute("/bin/bash", "-c", script, home=conda.home).out == "[(base) $ ]\n[$ ]\n"


def test_without_the_shell_function_activate_is_refused(conda: Conda) -> None:
    done = conda("activate", "base")
    assert (done.code, done.err) == (1, "\nCondaError: Run 'conda init' before 'conda activate'\n\n")


def test_lines_for_csh_and_fish(conda: Conda, env: Path) -> None:
    csh = conda("shell.csh", "activate", str(env)).out.splitlines()
    assert f"setenv PATH '{env}/bin:{conda.prefix}/condabin:{PATH}';" in csh
    fish = conda("shell.fish", "activate", str(env)).out.splitlines()
    assert f"set -gx PATH '{env}/bin' '{conda.prefix}/condabin' '/usr/bin' '/bin';" in fish
    assert f"set -gx CONDA_PREFIX '{env}';" in fish


@pytest.mark.skipif(not shutil.which("tcsh"), reason="no tcsh on this machine; the lab's account tim has it")
def test_activating_in_tcsh(conda: Conda, env: Path) -> None:
    # One command a line: an alias does not hold within the line that makes it.
    script = env.with_name("script.csh")
    script.write_text(
        f"source {conda.prefix}/etc/profile.d/conda.csh\nconda activate {env}\necho $CONDA_PREFIX\nwhich python\n"
        "conda deactivate\necho $PATH\nconda activate nope\necho $status\n"
    )
    done = execute("tcsh", "-f", script, home=conda.home)
    assert done.out.splitlines() == [str(env), f"{env}/bin/python", f"{conda.prefix}/condabin:{PATH}", "1"]


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish on this machine; the lab's account finn has it")
def test_activating_in_fish(conda: Conda, env: Path) -> None:
    script = (
        f"source {conda.prefix}/etc/fish/conf.d/conda.fish; conda activate {env}; echo $CONDA_PREFIX; "
        "command -v python; conda deactivate; string join : $PATH"
    )
    done = execute("fish", "--no-config", "-c", script, home=conda.home)
    assert done.out.splitlines() == [str(env), f"{env}/bin/python", f"{conda.prefix}/condabin:{PATH}"]


class _Socket(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


@pytest.fixture(scope="session")
def jupyter(installed: Conda, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment that the roles make, and a second kernel."""
    prefix = tmp_path_factory.mktemp("jupyter") / "env"
    return installed.create(
        prefix, "jupyter", "notebook>=7", "jupyterlab", "ipython", "jupyter-resource-usage", "bash_kernel"
    )


class TestJupyter:
    def test_every_program_starts_without_activation(self, jupyter: Path, tmp_path: Path) -> None:
        for program in ("jupyter", "jupyter-lab", "jupyter-notebook", "ipython", "jupyter-server"):
            done = execute(jupyter / "bin" / program, "--version", home=tmp_path)
            assert (done.code, done.err) == (0, ""), program

    def test_kernels_name_the_environments_python_absolutely(self, jupyter: Path, tmp_path: Path) -> None:
        specs = execute(jupyter / "bin" / "jupyter", "kernelspec", "list", "--json", home=tmp_path).json["kernelspecs"]
        assert {name: spec["spec"]["argv"][0] for name, spec in specs.items()} == {
            "python3": f"{jupyter}/bin/python",
            "bash": f"{jupyter}/bin/python",
        }

    @pytest.mark.parametrize(("kernel", "code"), [("python3", "print(6*7)"), ("bash", "echo $((6*7))")])
    def test_a_notebook_runs(self, jupyter: Path, tmp_path: Path, kernel: str, code: str) -> None:
        book = {
            "cells": [{"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": [],
                       "source": code}],
            "metadata": {"kernelspec": {"name": kernel, "display_name": kernel}}, "nbformat": 4, "nbformat_minor": 5,
        }  # fmt: skip
        (tmp_path / "book.ipynb").write_text(json.dumps(book))
        done = execute(jupyter / "bin" / "jupyter", "execute", "--inplace", tmp_path / "book.ipynb", home=tmp_path)
        assert done.code == 0, done.err
        assert "42" in json.dumps(json.loads((tmp_path / "book.ipynb").read_text())["cells"][0]["outputs"])

    def test_the_server_answers_on_its_socket_with_all_extensions(self, jupyter: Path, tmp_path: Path) -> None:
        path = tmp_path / "j.sock"
        log = (tmp_path / "log").open("w")
        server = subprocess.Popen(
            [jupyter / "bin" / "jupyter", "server", "--allow-root", f"--sock={path}"],
            env={"HOME": str(tmp_path), "PATH": PATH, "JUPYTER_TOKEN": "secret"}, stdout=log, stderr=log, cwd=tmp_path,
        )  # fmt: skip
        try:
            answers: dict[str, int] = {}
            deadline = time.monotonic() + 60
            while not path.exists():
                assert time.monotonic() < deadline, "jupyter server made no socket"
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.05)
            for page in ("/api/status", "/lab", "/tree", "/api/metrics/v1"):
                connection = _Socket(path)
                connection.request("GET", page, headers={"Authorization": "token secret"})
                answers[page] = connection.getresponse().status
                connection.close()
            assert answers == {"/api/status": 200, "/lab": 200, "/tree": 200, "/api/metrics/v1": 200}
        finally:
            server.terminate()
            server.wait(30)
            log.close()
