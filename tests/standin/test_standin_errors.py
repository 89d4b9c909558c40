"""How the stand-in's conda fails: names, JSON keys and exit codes as recorded from the real one."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.standin.conftest import Conda, Done, is_root

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.sampled("stand-in")
FORGE = ("--override-channels", "-c", "conda-forge")
PLAIN_KEYS = {"caused_by", "error", "exception_name", "exception_type", "message"}


def failing(conda: Conda, *arguments: str | Path, **environ: str) -> dict[str, object]:
    done = conda(*arguments, "--json", **environ)
    assert done.code == 1, done
    answer: dict[str, object] = done.json
    assert "success" not in answer
    return answer


def test_unknown_packages_are_all_named(conda: Conda, bare: Path) -> None:
    answer = failing(conda, "install", "-y", "-p", bare, *FORGE, "no-such-package-xyz", "six=99", "tqdm")
    assert set(answer) == PLAIN_KEYS | {"channel_urls", "channels_formatted", "packages", "packages_formatted"}
    assert answer["exception_name"] == "PackagesNotFoundInChannelsError"
    assert answer["packages"] == ["no-such-package-xyz", "six=99"]
    done = conda("install", "-y", "-p", bare, *FORGE, "no-such-package-xyz")
    assert "PackagesNotFoundInChannelsError: The following packages are not available" in done.err
    assert f"Current channels:\n\n  - {conda.url}/conda-forge" in done.err


def test_what_cannot_go_together_is_explained(conda: Conda, env: Path) -> None:
    answer = failing(conda, "install", "-y", "-p", env, *FORGE, "jupyterlab=4.5", "notebook=7.6")
    assert set(answer) == PLAIN_KEYS | {"allow_retry"}
    assert str(answer["exception_name"]).endswith("UnsatisfiableError")
    assert str(answer["message"]).startswith(
        "Cannot solve the request because of: The following packages are incompatible\n"
    )
    assert "notebook" in str(answer["message"])


def test_an_unreachable_channel_has_the_status_000_as_text(conda: Conda, bare: Path) -> None:
    answer = failing(
        conda, "install", "-y", "-p", bare, "--override-channels", "-c", "http://127.0.0.1:1/channel", "six"
    )
    assert set(answer) == PLAIN_KEYS | {"elapsed_time", "json", "reason", "response_details", "status_code", "url"}
    assert (answer["exception_name"], answer["status_code"]) == ("CondaHTTPError", "000")
    assert answer["url"] == "http://127.0.0.1:1/channel/linux-64/repodata.json"
    assert str(answer["message"]).endswith("'http//127.0.0.1:1/channel/linux-64'\n")


@pytest.mark.parametrize(("fault", "code"), [("e401", 401), ("e403", 403), ("e503", 503)])
def test_a_refusing_server_has_its_status_as_number(conda: Conda, bare: Path, fault: str, code: int) -> None:
    answer = failing(
        conda, "install", "-y", "-p", bare, "--override-channels", "-c", f"{conda.url}/{fault}/conda-forge", "six"
    )
    assert (answer["exception_name"], answer["status_code"]) == ("CondaHTTPError", code)


def test_an_address_without_a_channel_is_named(conda: Conda, bare: Path) -> None:
    answer = failing(conda, "install", "-y", "-p", bare, "--override-channels", "-c", f"{conda.url}/nochannel", "six")
    assert set(answer) == PLAIN_KEYS | {
        "channel_name", "channel_url", "json", "reason", "response_details", "status_code",
    }  # fmt: skip
    assert (answer["exception_name"], answer["channel_name"]) == ("UnavailableInvalidChannel", "nochannel")
    assert answer["status_code"] == 404
    local = conda("install", "-y", "-p", bare, "--override-channels", "-c", "file:///nochannel", "six")
    assert "HTTP 404 UNAVAILABLE OR INVALID for channel nochannel <file:///nochannel>" in local.err


def test_a_login_page_instead_of_an_index_is_an_unexpected_error(conda: Conda, bare: Path) -> None:
    answer = failing(
        conda, "install", "-y", "-p", bare, "--override-channels", "-c", f"{conda.url}/html/conda-forge", "six"
    )
    assert list(answer) == ["error", "exception_name", "exception_type", "command", "traceback", "conda_info"]


def test_another_process_with_the_lock_of_an_index_is_waited_for_and_then_reported(
    conda: Conda, tmp_path: Path
) -> None:
    search = ("search", *FORGE, "webcolors")
    cache = {"CONDA_PKGS_DIRS": str(tmp_path / "cache")}
    assert conda(*search, **cache).code == 0
    begun = time.monotonic()
    with next((tmp_path / "cache" / "cache").glob("*.info.json")).open("r+") as state:
        fcntl.lockf(state, fcntl.LOCK_EX, 1, 21)
        answer = failing(conda, *search, **cache)
        assert set(answer) == PLAIN_KEYS
        assert (answer["exception_name"], answer["message"]) == ("LockError", "Failed to acquire lock.")
        assert time.monotonic() > begun + 9
        assert conda(*search, **cache, CONDA_NO_LOCK="true").code == 0
    assert conda(*search, **cache).code == 0


def bad_download(conda: Conda, tmp_path: Path, fault: str) -> Done:
    return conda(
        "create", "-y", "--json", "-p", tmp_path / "new", "--override-channels",
        "-c", f"{conda.url}/{fault}/conda-forge", "webcolors", CONDA_PKGS_DIRS=str(tmp_path / "cache"),
    )  # fmt: skip


def test_a_damaged_package_is_refused_and_thrown_away(conda: Conda, tmp_path: Path) -> None:
    done = bad_download(conda, tmp_path, "bad")
    answer = done.json
    assert (done.code, answer["exception_name"], answer["error"]) == (
        1,
        "CondaMultiError",
        "Multiple Errors Encountered.",
    )
    first = answer["errors"][0]
    assert set(first) == PLAIN_KEYS | {
        "actual_checksum", "checksum_type", "expected_checksum", "partial_download", "target_full_path", "url",
    }  # fmt: skip
    assert (first["exception_name"], first["checksum_type"]) == ("ChecksumMismatchError", "sha256")
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "cache").glob("webcolors*")) == []


def test_a_connection_cut_in_the_middle_is_an_error_of_its_own(conda: Conda, tmp_path: Path) -> None:
    done = bad_download(conda, tmp_path, "cut")
    assert done.code == 1
    assert done.json["errors"][0]["exception_name"] == "ChunkedEncodingError"
    assert not (tmp_path / "new").exists()


def lock_with(conda: Conda, tmp_path: Path, digest: str, name: str = "webcolors") -> Path:
    conda.create(tmp_path / "for-the-lock", name)
    lines = conda("list", "-p", tmp_path / "for-the-lock", "--explicit", "--sha256").out.splitlines()
    line = next(line for line in lines if f"/{name}-" in line)
    lock = tmp_path / "lock.txt"
    lock.write_text(f"@EXPLICIT\n{line.partition('#')[0]}#{digest}\n")
    return lock


@pytest.mark.parametrize(("digest", "kind"), [("0" * 64, "sha256"), ("0" * 32, "md5")])
@pytest.mark.parametrize("cached", [True, False])
def test_a_lock_with_a_wrong_sum_is_refused(
    conda: Conda, tmp_path: Path, digest: str, kind: str, *, cached: bool
) -> None:
    lock = lock_with(conda, tmp_path, digest)
    environ = {} if cached else {"CONDA_PKGS_DIRS": str(tmp_path / "cache")}
    done = conda("create", "-y", "-q", "-p", tmp_path / "new", "--file", lock, **environ)
    assert done.code == 1
    assert (
        "ChecksumMismatchError: Conda detected a mismatch between the expected content and downloaded content"
        in done.err
    )
    assert f"expected {kind}: {digest}" in done.err
    assert not (tmp_path / "new").exists()


def test_a_lock_that_names_a_package_that_is_gone_is_refused(conda: Conda, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(f"@EXPLICIT\n{conda.url}/conda-forge/noarch/six-0.0.1-pyhstandin_0.conda#{'0' * 32}\n")
    done = conda("create", "-y", "-p", tmp_path / "new", "--file", lock)
    assert done.code == 1
    assert "CondaHTTPError: HTTP 404 File not found for url <" in done.err


def test_folders_that_are_no_environment(conda: Conda, tmp_path: Path) -> None:
    nowhere = failing(conda, "list", "-p", tmp_path / "nope")
    assert (nowhere["exception_name"], nowhere["location"]) == ("EnvironmentLocationNotFound", f"{tmp_path}/nope")
    (tmp_path / "empty").mkdir()
    empty = failing(conda, "list", "-p", tmp_path / "empty")
    assert (empty["exception_name"], empty["target_directory"]) == (
        "DirectoryNotACondaEnvironmentError", f"{tmp_path}/empty",
    )  # fmt: skip
    assert conda("install", "-y", "-p", tmp_path / "empty", *FORGE, "six").code == 1


def test_an_environment_without_history_can_be_listed_but_not_changed(conda: Conda, bare: Path) -> None:
    (bare / "conda-meta" / "history").unlink()
    assert conda("list", "-p", bare).code == 0
    answer = failing(conda, "install", "-y", "-p", bare, *FORGE, "six")
    assert answer["exception_name"] == "DirectoryNotACondaEnvironmentError"


def test_a_broken_record_is_named(conda: Conda, env: Path) -> None:
    record = next((env / "conda-meta").glob("python-3*.json"))
    record.write_text("")
    answer = failing(conda, "list", "-p", env)
    assert (answer["exception_name"], answer["corrupted_file"]) == ("CorruptedEnvironmentError", str(record))


def test_a_frozen_environment_is_refused_even_when_there_is_nothing_to_do(conda: Conda, bare: Path) -> None:
    (bare / "conda-meta" / "frozen").write_text('{"message": "managed by ops"}')
    answer = failing(conda, "install", "-y", "-p", bare, *FORGE, "libzlib")
    assert answer["exception_name"] == "EnvironmentIsFrozenError"
    assert "Reason:\n\n    managed by ops\n\n" in str(answer["message"])
    assert conda("install", "-y", "-q", "--override-frozen", "-p", bare, *FORGE, "bzip2").code == 0


def test_a_package_in_the_cache_that_lacks_a_file_is_refused(conda: Conda, env: Path, tmp_path: Path) -> None:
    cache = {"CONDA_PKGS_DIRS": str(tmp_path / "cache")}
    conda("create", "-y", "-q", "-p", tmp_path / "first", *FORGE, "webcolors", **cache)
    folder = next(path for path in (tmp_path / "cache").glob("webcolors-*") if path.is_dir())
    next((folder / "site-packages" / "webcolors").glob("*.py")).unlink()
    done = conda("install", "-y", "-p", env, *FORGE, "webcolors", **cache)
    assert done.code == 1
    assert "CondaVerificationError: The package for webcolors located at" in done.err
    assert "Verifying transaction: ...working... failed" in done.out
    shutil.rmtree(folder)
    assert conda("install", "-y", "-p", env, *FORGE, "webcolors", **cache).code == 0


@pytest.mark.skipif(not is_root(), reason="needs root to mount a small file system")
class TestFullDisk:
    @pytest.fixture
    def small(self, tmp_path: Path) -> Iterator[Path]:
        folder = tmp_path / "small"
        folder.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", folder], check=False)
        if mounted.returncode:
            pytest.skip("this machine lets root mount nothing")
        yield folder
        subprocess.run(["umount", folder], check=True)

    def test_a_new_environment_is_taken_back(self, conda: Conda, small: Path) -> None:
        done = conda("create", "-y", "--json", "-p", small / "env", *FORGE, "python", "jupyterlab")
        answer = json.loads(done.out[done.out.index("{") :])
        assert done.code == 1
        assert answer["errors"][0]["message"] == "[Errno 28] No space left on device"
        assert not (small / "env").exists()

    def test_the_environment_that_was_there_goes_on_working(self, conda: Conda, small: Path) -> None:
        env = conda.create(small / "env", "python", "six")
        before = conda.names(env)
        done = conda("install", "-y", "-p", env, *FORGE, "jupyterlab")
        assert done.code == 1
        assert "[Errno 28] No space left on device" in done.err
        assert "Rolling back transaction: ...working... done" in done.out
        listed = conda("list", "-p", env, "--json")
        if listed.code:
            # As recorded: the record that was being written when the disk was full is left, cut off.
            assert listed.json["exception_name"] == "CorruptedEnvironmentError"
            Path(listed.json["corrupted_file"]).unlink()
        assert conda.names(env) == before
        assert not (env / "lib/python3.11/site-packages/jupyterlab").exists()
        assert conda("run", "-p", env, "python", "-c", "import six").code == 0

    def test_a_full_package_cache(self, conda: Conda, small: Path, tmp_path: Path) -> None:
        done = conda("create", "-y", "-p", tmp_path / "e", *FORGE, "jupyterlab", CONDA_PKGS_DIRS=str(small))
        assert done.code == 1
        assert "No space left on device" in done.err
