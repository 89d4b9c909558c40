"""The installer: options, refusals, exit codes and the states that it leaves, as recorded from the vendor's."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.standin.conftest import PATH, Conda, Done, execute

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.sampled("stand-in")
#: What a finished installation has, and what only an unfinished one has.
FINISHED = {
    "bin",
    "conda-meta",
    "condabin",
    "envs",
    "etc",
    "pkgs",
    "_conda",
    ".condarc",
    ".installer.info",
    "LICENSE.txt",
}
LEFTOVERS = {"install_tmp", ".messages.txt", ".condatmp", "preconda.tar.bz2", "postconda.tar.bz2"}


@pytest.fixture
def install(installer: Path, tmp_path: Path) -> Callable[..., Done]:
    def run(*options: str | Path, interpreter: str = "/bin/sh", **environ: str) -> Done:
        return execute(interpreter, installer, *options, home=tmp_path, cwd=tmp_path, variables=environ)

    return run


def test_help_ends_with_2_and_names_the_options(install: Callable[..., Done]) -> None:
    done = install("-h")
    assert done.code == 2
    assert "usage: Miniconda3-standin-Linux-x86_64.sh [options]" in done.out
    assert re.findall(r"^-(\w) ", done.out, re.MULTILINE) == list("bfhpsmutc")


def test_an_unknown_option_ends_with_1(install: Callable[..., Done]) -> None:
    done = install("-b", "-z")
    assert (done.code, done.out) == (1, "ERROR: did not recognize option '?', please try -h\n")


def test_an_existing_folder_is_refused_and_stays_as_it_is(install: Callable[..., Done], tmp_path: Path) -> None:
    prefix = tmp_path / "there"
    prefix.mkdir()
    done = install("-b", "-p", prefix)
    assert done.code == 1
    assert done.err == (
        f"ERROR: File or directory already exists: '{prefix}'\n"
        "If you want to update an existing installation, use the -u option.\n"
    )
    assert list(prefix.iterdir()) == []


def test_a_prefix_with_a_space_is_refused(install: Callable[..., Done], tmp_path: Path) -> None:
    done = install("-b", "-p", tmp_path / "my conda")
    assert (done.code, done.err) == (1, "ERROR: Cannot install into directories with spaces\n")
    assert not (tmp_path / "my conda").exists()


def test_an_old_glibc_is_refused_before_anything_is_made(install: Callable[..., Done], tmp_path: Path) -> None:
    done = install("-b", "-p", tmp_path / "mc", CONDA_OVERRIDE_GLIBC="2.17")
    assert (done.code, done.out) == (1, "Installer requires GLIBC >=2.36, but system has 2.17.\n")
    assert not (tmp_path / "mc").exists()


def test_too_little_space_is_refused_and_leaves_an_empty_folder(install: Callable[..., Done], tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "df").write_text("#!/bin/sh\necho head\necho tmpfs 204800 0 204800 0% /x\n")
    (tools / "df").chmod(0o755)
    done = install("-b", "-p", tmp_path / "mc", PATH=f"{tools}:{PATH}")
    assert done.code == 1
    assert re.fullmatch(
        r"ERROR: Not enough free disk space. Only 150 MB are available, but \d+ MB are required "
        r"\(leaving a 50 MB buffer\).\n",
        done.err,
    )
    assert list((tmp_path / "mc").iterdir()) == []


def test_a_prefix_that_cannot_be_made_is_an_error(install: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("/nonexistent/x")
    done = install("-b", "-p", tmp_path / "dangling")
    assert done.code == 1
    assert f"ERROR: Could not create directory: '{tmp_path}/dangling'." in done.err


@pytest.mark.parametrize("harm", ["flipped", "short", "half"])
def test_a_damaged_file_is_refused_before_anything_is_made(installer: Path, tmp_path: Path, harm: str) -> None:
    data = bytearray(installer.read_bytes())
    if harm == "flipped":
        data[len(data) // 2] ^= 0xFF
    damaged = tmp_path / "damaged.sh"
    damaged.write_bytes({"flipped": data, "short": data[:-1000], "half": data[: len(data) // 2]}[harm])
    done = execute("/bin/sh", damaged, "-b", "-p", tmp_path / "mc", home=tmp_path)
    assert done.code == 1
    assert "mismatch of tar archive" in done.err
    assert not (tmp_path / "mc").exists()


def test_a_file_cut_in_the_header_is_a_syntax_error(installer: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.sh"
    cut.write_bytes(installer.read_bytes()[:1500])
    done = execute("/bin/bash", cut, "-b", "-p", tmp_path / "mc", home=tmp_path)
    assert done.code == 2
    assert not (tmp_path / "mc").exists()


def test_a_name_without_sh_is_refused(installer: Path, tmp_path: Path) -> None:
    (tmp_path / "Miniconda3").symlink_to(installer)
    done = execute("/bin/sh", tmp_path / "Miniconda3", "-b", "-p", tmp_path / "mc", home=tmp_path)
    assert (done.code, done.err) == (1, 'Please run using "bash"/"dash"/"sh"/"zsh", but not "." or "source".\n')


def test_without_b_and_without_input_nothing_is_installed(install: Callable[..., Done], tmp_path: Path) -> None:
    done = install("-p", tmp_path / "mc")
    assert done.code == 1
    assert done.out.endswith("Please, press ENTER to continue\n>>> ")
    assert not (tmp_path / "mc").exists()


def test_a_finished_installation_has_everything_and_no_leftovers(installed: Conda) -> None:
    there = {path.name for path in installed.prefix.iterdir()} - {".nonadmin"}
    assert there == FINISHED | {"lib", "shell", "ssl"}
    meta = {path.name.rsplit("-", 2)[0] for path in (installed.prefix / "conda-meta").glob("*.json")}
    assert {"conda", "python", "pip"} <= meta
    assert (installed.prefix / "conda-meta" / "history").is_file()
    assert (installed.home / ".conda" / "environments.txt").read_text() == f"{installed.prefix}\n"


def test_it_says_that_it_is_a_stand_in(install: Callable[..., Done], installed: Conda) -> None:
    assert "stand-in" in install("-h").out
    assert "stand-in" in installed("info").out
    assert installed("info", "--json").json["standin"] is True


def test_nothing_in_it_still_names_the_build(installed: Conda) -> None:
    found = subprocess.run(
        ["grep", "-rlE", "placehold_placehold", str(installed.prefix / "bin"), str(installed.prefix / "condabin"),
         str(installed.prefix / "etc"), str(installed.prefix / "shell")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.stdout == ""


def test_its_python_is_whole_and_keeps_to_itself(installed: Conda) -> None:
    code = (
        "import bz2, ctypes, curses, lzma, readline, sqlite3, ssl, sys, uuid, zlib, site, sysconfig, json\n"
        "print(json.dumps([sys.prefix, [p for p in sys.path if p and not p.startswith(sys.prefix)], "
        "sysconfig.get_path('purelib'), ssl.create_default_context().cert_store_stats()['x509_ca'], "
        "open('/proc/self/maps').read()]))"
    )
    done = execute(installed.prefix / "bin" / "python", "-c", code, home=installed.home)
    prefix, foreign, purelib, certificates, maps = done.json
    assert prefix == str(installed.prefix)
    assert foreign == []
    assert purelib == f"{installed.prefix}/lib/python3.11/site-packages"
    assert certificates > 100
    libraries = set(re.findall(r"(\S+\.so[.\d]*)$", maps, re.MULTILINE))
    of_system = {Path(path).name for path in libraries if not path.startswith(str(installed.prefix))}
    assert of_system <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "libcrypt.so.1", "libdl.so.2"}


def test_installing_again_with_u_repairs_and_keeps_what_is_not_its_own(
    install: Callable[..., Done], installed: Conda, tmp_path: Path
) -> None:
    prefix = tmp_path / "mc"
    assert install("-b", "-p", "mc").code == 0
    mine = Conda(prefix, tmp_path, installed.url)
    rc = f"channels: [conda-forge]\nchannel_alias: {installed.url}\n"
    (prefix / ".condarc").write_text(rc)
    assert mine("install", "-y", "-q", "webcolors").code == 0
    (prefix / "user-file").write_text("mine")
    (prefix / "bin" / "python3.11").unlink()
    done = install("-b", "-u", "-p", prefix, interpreter="/bin/bash")
    assert done.code == 0, done
    assert done.out.endswith("installation finished.\n")
    assert (prefix / ".condarc").read_text() == "channels:\n  - defaults\n"
    assert (prefix / "user-file").read_text() == "mine"
    assert "webcolors" in mine.names(prefix)
    assert execute(prefix / "bin" / "python", "-c", "import webcolors, rattler", home=tmp_path).code == 0
    assert LEFTOVERS & {path.name for path in prefix.iterdir()} == set()


def _kill_when(installer: Path, prefix: Path, moment: Callable[[], bool]) -> None:
    """Start an installation and kill all of it at a moment."""
    child = subprocess.Popen(
        ["/bin/sh", str(installer), "-b", "-p", str(prefix)],
        env={"HOME": str(prefix.parent), "PATH": PATH},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not moment() and child.poll() is None:
        assert time.monotonic() < deadline, "the moment to kill the installer did not come"
        time.sleep(0.001)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def test_killed_while_unpacking_it_leaves_the_payload(
    installer: Path, tmp_path: Path, install: Callable[..., Done]
) -> None:
    prefix = tmp_path / "mc"
    _kill_when(installer, prefix, (prefix / "pkgs").exists)
    left = {path.name for path in prefix.iterdir()}
    assert {"_conda", "pkgs", "install_tmp", "postconda.tar.bz2"} <= left
    assert "bin" not in left
    assert install("-b", "-p", prefix).code == 1
    assert install("-b", "-u", "-p", prefix).code == 0


def test_killed_as_soon_as_conda_runs_it_has_no_records_yet(
    installer: Path, tmp_path: Path, install: Callable[..., Done], installed: Conda
) -> None:
    prefix = tmp_path / "mc"
    _kill_when(installer, prefix, (prefix / "condabin" / "conda").exists)
    left = {path.name for path in prefix.iterdir()}
    assert {".condatmp", ".messages.txt", "install_tmp", "postconda.tar.bz2", "bin", "conda-meta"} <= left
    assert list((prefix / "conda-meta").glob("*.json")) == []
    assert install("-b", "-u", "-p", prefix).code == 0
    mine = Conda(prefix, tmp_path, installed.url)
    assert mine.names(prefix) == installed.names(installed.prefix)
    assert LEFTOVERS & {path.name for path in prefix.iterdir()} == set()


def test_it_needs_no_more_than_sh_coreutils_tar_and_gzip(installer: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    names = "sh basename cat chmod df dirname head id ldd mkdir rm sha256sum tail tar gzip env bash"
    for name in names.split():
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    done = execute("/bin/sh", installer, "-b", "-p", tmp_path / "mc", home=tmp_path, variables={"PATH": str(tools)})
    assert (done.code, done.err) == (0, "")
    assert json.loads((tmp_path / "mc" / ".installer.info").read_text())["name"] == "Miniconda3"


def test_it_needs_no_certificates_of_the_machine(
    install: Callable[..., Done], installed: Conda, tmp_path: Path
) -> None:
    nothing = {"SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": "/nonexistent"}
    assert install("-b", "-p", tmp_path / "mc", **nothing).code == 0
    mine = Conda(tmp_path / "mc", tmp_path, installed.url)
    (mine.prefix / ".condarc").write_text(f"channels: [conda-forge]\nchannel_alias: {installed.url}\n")
    assert mine("create", "-y", "-q", "-n", "new", "six", **nothing).code == 0


def test_a_closed_umask_gives_a_closed_tree(installer: Path, tmp_path: Path) -> None:
    done = execute("/bin/sh", "-c", f"umask 077; sh {installer} -b -p {tmp_path}/mc", home=tmp_path)
    assert done.code == 0
    modes = {
        name: (tmp_path / "mc" / name).stat().st_mode & 0o777 for name in (".", "bin/conda", "lib/python3.11/os.py")
    }
    assert modes == {".": 0o700, "bin/conda": 0o700, "lib/python3.11/os.py": 0o600}
