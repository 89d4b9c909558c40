"""The script that installs conda, run whole in a temporary home; the installer is a small double of the vendor's."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "roles" / "miniconda" / "files" / "miniconda.sh"

# Same options, same order of what appears, same leftovers when it is killed. Where it stops is told by files.
INSTALLER = r"""#!/bin/sh
while getopts bufp: option; do case $option in p) prefix=$OPTARG ;; u) update=1 ;; esac; done
here=$(dirname "$0")/..
if [ -e "$prefix" ] && [ -z "$update" ]; then echo "ERROR: File or directory already exists: '$prefix'" >&2; exit 1; fi
halt() {
    echo "$1" >>"$TEST_STAGES"
    if [ -e "$TEST_HALT/$1.full" ]; then echo "OSError: [Errno 28] No space left on device" >&2; exit 1; fi
    if [ -e "$TEST_HALT/$1.fail" ]; then echo "RuntimeError: Failed to extract" >&2; exit 1; fi
    while [ -e "$TEST_HALT/$1" ]; do sleep 0.05; done
}
if [ -e "$TEST_HALT/glibc" ]; then echo "Installer requires GLIBC >=2.99, but system has 2.31."; exit 1; fi
mkdir -p "$prefix"
: >"$prefix/_conda"
halt bootstrapper
mkdir -p "$prefix/install_tmp" "$prefix/pkgs" "$prefix/conda-meta" "$prefix/bin"
: >"$prefix/postconda.tar.bz2"
halt payload
: >"$prefix/.condatmp"
cat >"$prefix/bin/conda" <<'END'
#!/bin/sh
prefix=$(dirname "$(dirname "$0")")
case $1 in
    --version) echo "conda 26.5.3" ;;
    list) echo "# packages"; for one in "$prefix"/conda-meta/*.json; do one=${one##*/}; echo "${one%%-*}  1  0"; done ;;
esac
END
printf '#!/bin/sh\n' >"$prefix/bin/python"
chmod +x "$prefix/bin/conda" "$prefix/bin/python"
halt linking
echo '{}' >"$prefix/conda-meta/python-3.13.9-h0_0.json"
echo '{}' >"$prefix/conda-meta/conda-26.5.3-py313_0.json"
printf 'channels:\n  - defaults\n' >"$prefix/.condarc"
rm -rf "$prefix/install_tmp" "$prefix/.condatmp" "$prefix/postconda.tar.bz2"
mkdir -p "$HOME/.conda" && echo "$prefix" >>"$HOME/.conda/environments.txt"
halt finished
"""


@dataclass
class Account:
    """A home, a mirror with the installer, and the script's parameters for them."""

    folder: Path

    def __post_init__(self) -> None:
        for name in ("home", "halt", "mirror"):
            (self.folder / name).mkdir()
        self.installer.write_text(INSTALLER)

    @property
    def installer(self) -> Path:
        return self.folder / "mirror" / "Miniconda3-test-Linux.sh"

    @property
    def prefix(self) -> Path:
        return self.folder / "home" / "miniconda3"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "TEST_HALT": str(self.folder / "halt"),
            "TEST_STAGES": str(self.folder / "stages"),
        }

    def text(self, mode: str, **more: str) -> str:
        parameters = {
            "MODE": mode,
            "PREFIX": str(self.prefix),
            "LABEL": "Miniconda",
            "VERSION": "test",
            "ARCHITECTURE": platform.machine(),
            "FILE": self.installer.name,
            "URL": f"file://{self.installer}",
            "SHA256": hashlib.sha256(INSTALLER.encode()).hexdigest(),
            "GLIBC": "2.17",
            "FREE_MB": "1",
            "FREE_INODES": "1",
            "PROXY": "",
            "DIRECT": "",
            "CA_BUNDLE": "",
            "PUSHED": "",
            "LOCK_WAIT": "20",
            "KEEP": "no",
            "REMOVABLE": "",
            **more,
        }
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in parameters.items()]
        return "".join(lines) + SCRIPT.read_text()

    def start(self, mode: str, **more: str) -> subprocess.Popen[str]:
        script = subprocess.Popen(
            ["/bin/sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            start_new_session=True,
        )
        assert script.stdin is not None
        script.stdin.write(self.text(mode, **more))
        script.stdin.close()
        script.stdin = None
        return script

    def run(self, mode: str = "install", **more: str) -> tuple[str, str]:
        return answer(self.start(mode, **more))

    def halt_at(self, stage: str) -> Path:
        (self.folder / "halt" / stage).touch()
        return self.folder / "halt" / stage

    def wait_for(self, stage: str) -> None:
        deadline = time.monotonic() + 20
        stages = self.folder / "stages"
        while not (stages.exists() and stage in stages.read_text().split()):
            assert time.monotonic() < deadline, f"the installer never came to '{stage}'"
            time.sleep(0.02)

    def tree(self) -> set[str]:
        home = self.folder / "home"
        return {str(path.relative_to(home)) for path in home.rglob("*")}


def answer(script: subprocess.Popen[str]) -> tuple[str, str]:
    out, _ = script.communicate(timeout=60)
    lines = [line for line in out.splitlines() if line.startswith("@nbfleet ")]
    assert len(lines) == 1, out
    _, status, sentence = lines[0].split(" ", 2)
    return status, sentence


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path)


def test_a_bare_account_gets_conda_once_and_nothing_lies_about(account: Account) -> None:
    assert account.run("check")[0] == "changed"
    assert account.tree() == set()
    status, sentence = account.run()
    assert (status, sentence.split(": ", 1)[1]) == ("changed", f"installed Miniconda test into {account.prefix}.")
    assert {path.name for path in (account.folder / "home").iterdir()} == {"miniconda3", ".conda"}
    mark = (account.prefix / ".nbfleet-installed").read_text()
    assert "version: test\n" in mark
    assert f"sha256: {hashlib.sha256(INSTALLER.encode()).hexdigest()}\n" in mark
    assert account.run()[0] == "unchanged"
    assert account.run("check")[0] == "unchanged"
    assert account.run("remove-check")[0] == "changed"
    assert account.run("remove")[0] == "changed"
    assert account.tree() == set()
    assert account.run("remove")[0] == "unchanged"


@pytest.mark.parametrize("stage", ["bootstrapper", "payload", "linking", "finished"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_killed_at_any_point_the_next_run_finishes(account: Account, stage: str, number: int) -> None:
    halt = account.halt_at(stage)
    script = account.start("install")
    account.wait_for(stage)
    os.killpg(script.pid, number)
    script.communicate(timeout=20)
    halt.unlink()
    assert account.run("check")[0] == "changed"
    assert account.run()[0] == "changed"
    assert (account.prefix / ".nbfleet-installed").exists()
    assert not (account.prefix / ".nbfleet-started").exists()
    assert not (account.folder / "home" / ".miniconda3.nbfleet").exists()
    assert account.run()[0] == "unchanged"


def test_an_installer_that_outlived_its_run_is_waited_for(account: Account) -> None:
    halt = account.halt_at("linking")
    script = account.start("install")
    account.wait_for("linking")
    os.kill(script.pid, signal.SIGKILL)  # the shell alone; the installer goes on
    second = account.start("install")
    time.sleep(0.5)
    assert second.poll() is None
    halt.unlink()
    assert answer(second)[0] == "changed"
    script.communicate(timeout=20)
    stages = (account.folder / "stages").read_text().split()
    assert stages.count("payload") == 1, "what the first run had finished was done again"


def test_of_two_runs_at_once_one_installs_and_the_other_sees_it(account: Account) -> None:
    halt = account.halt_at("payload")
    first = account.start("install")
    account.wait_for("payload")
    second = account.start("install")
    time.sleep(0.3)
    halt.unlink()
    assert {answer(first)[0], answer(second)[0]} == {"changed", "unchanged"}


def test_a_run_that_ends_between_two_steps_of_another_one_is_not_in_its_way(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It takes the private folder away that the other one has just found.
    taken, work = account.folder / "taken", account.folder / "home" / ".miniconda3.nbfleet"
    program = account.folder / "bin" / "chmod"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ -e {taken} ] || rm -r {work}\n: >{taken}\nexec {shutil.which("chmod")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert account.run()[0] == "changed"
    assert taken.exists()
    assert account.run()[0] == "unchanged"


def test_waiting_for_another_run_has_an_end_and_says_so(account: Account) -> None:
    halt = account.halt_at("payload")
    first = account.start("install")
    account.wait_for("payload")
    status, sentence = account.run(LOCK_WAIT="1")
    assert (status, "more than 1 s" in sentence) == ("refused", True)
    halt.unlink()
    assert answer(first)[0] == "changed"


def test_a_script_cut_short_does_nothing(account: Account) -> None:
    text = account.text("install")
    for share in (0.3, 0.7, 0.95):
        cut = text[: int(len(text) * share)]
        subprocess.run(["/bin/sh"], input=cut, text=True, env=account.environment, capture_output=True, check=False)
    assert account.tree() == set()


def test_an_installer_that_is_pushed_is_asked_for_and_then_used(account: Account) -> None:
    status, place = account.run(URL="-")
    assert (status, account.prefix.exists()) == ("wanting", False)
    Path(place).write_text("cut short")
    assert account.run(URL="-", PUSHED=place)[0] == "wanting"
    Path(place).write_text(INSTALLER)
    assert account.run(URL="-", PUSHED=place)[0] == "changed"
    assert {path.name for path in (account.folder / "home").iterdir()} == {"miniconda3", ".conda"}
    assert account.run(URL="-")[0] == "unchanged"


def test_the_controller_fetches_once_and_keeps_only_what_is_right(account: Account) -> None:
    store = account.folder / "store"
    kept = store / account.installer.name
    status, sentence = account.run("fetch", PREFIX=str(store), SHA256="0" * 64)
    assert (status, "so it was not run" in sentence) == ("refused", True)
    assert list(store.iterdir()) == []
    assert account.run("fetch", PREFIX=str(store))[0] == "changed"
    assert (list(store.iterdir()), kept.read_text()) == ([kept], INSTALLER)
    assert account.run("fetch", PREFIX=str(store), URL="file:///nowhere")[0] == "unchanged"
    kept.write_text("damaged")
    assert account.run("fetch", PREFIX=str(store))[0] == "changed"
    assert account.tree() == set()


def test_a_proxy_s_password_comes_by_standard_input(account: Account) -> None:
    curl = account.folder / "bin" / "curl"
    curl.parent.mkdir()
    curl.write_text(
        f'#!/bin/sh\necho "$http_proxy $https_proxy $no_proxy" >"{account.folder}/asked"\n'
        'echo "curl: (5) http://me:geheim@p:1 is unknown" >&2\nexit 5\n'
    )
    curl.chmod(0o755)
    text = account.text("install", URL="http://example.invalid/x.sh", PROXY="-", DIRECT="intra")
    done = subprocess.run(
        ["/bin/sh", "-c", text],
        input="http://me:geheim@p:1\n",
        env={**account.environment, "PATH": f"{curl.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (account.folder / "asked").read_text() == "http://me:geheim@p:1 http://me:geheim@p:1 intra\n"
    assert "http://***@p:1 is unknown" in done.stdout
    assert "geheim" not in done.stdout + done.stderr


def test_a_working_conda_of_somebody_else_is_used_and_never_touched(account: Account) -> None:
    command = ["/bin/sh", str(account.installer), "-b", "-p", str(account.prefix)]
    subprocess.run(command, env=account.environment, check=True)
    before = account.tree()
    for mode in ("check", "install", "remove-check", "remove"):
        status, sentence = account.run(mode)
        assert status == "unchanged"
        assert "somebody else" in sentence or "not put there by nbfleet" in sentence
    assert account.tree() == before


@pytest.mark.parametrize("stage", ["bootstrapper", "payload", "linking"])
def test_half_a_conda_of_somebody_else_is_refused_with_the_next_step(account: Account, stage: str) -> None:
    account.halt_at(f"{stage}.fail")
    command = ["/bin/sh", str(account.installer), "-b", "-p", str(account.prefix)]
    subprocess.run(command, env=account.environment, check=False, capture_output=True)
    before = account.tree()
    for mode in ("check", "install"):
        status, sentence = account.run(mode)
        assert status == "refused"
        assert f"rm -rf {account.prefix}" in sentence
    assert account.tree() == before


def test_a_damaged_conda_of_ours_is_repaired(account: Account) -> None:
    account.run()
    next(account.prefix.glob("conda-meta/python-*")).unlink()
    assert account.run("check")[0] == "changed"
    status, sentence = account.run()
    assert status == "changed"
    assert "finished the half installation" in sentence
    account.run("remove")
    assert account.tree() == set()


def test_a_conda_of_ours_that_does_not_work_any_more_is_repaired_and_environments_stay(account: Account) -> None:
    account.run()
    (account.prefix / "envs" / "mine").mkdir(parents=True)
    (account.prefix / "bin" / "conda").write_text("#!/bin/sh\nexit 1\n")
    foretold = account.run("check")
    assert (account.prefix / "bin" / "conda").read_text() == "#!/bin/sh\nexit 1\n"
    assert foretold[0] == account.run()[0] == "changed"
    assert account.run()[0] == "unchanged"
    assert (account.prefix / "envs" / "mine").is_dir()


def test_a_failing_installer_is_told_and_the_next_run_continues(account: Account) -> None:
    failing = account.halt_at("payload.fail")
    status, sentence = account.run()
    assert status == "refused"
    assert "status 1 (RuntimeError: Failed to extract)" in sentence
    failing.unlink()
    assert account.run()[0] == "changed"


def test_a_disk_that_becomes_full_is_named(account: Account) -> None:
    account.halt_at("payload.full")
    status, sentence = account.run()
    assert (status, "became full or went over quota during the installation" in sentence) == ("refused", True)


def test_an_installer_that_needs_a_newer_glibc_than_was_known_of_it_leaves_nothing(account: Account) -> None:
    account.halt_at("glibc")
    before = sorted(account.folder.rglob("*"))
    status, sentence = account.run()
    assert (status, "needs 2.99 or newer; set miniconda_version" in sentence) == ("refused", True)
    assert sorted(account.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        (
            {"SHA256": ""},
            "no SHA-256 is known for Miniconda3-test-Linux.sh; look it up at the vendor's and set miniconda_sha256",
        ),
        ({"SHA256": "abc"}, "miniconda_sha256 is 'abc', which is no SHA-256"),
        ({"SHA256": "g" * 64}, "which is no SHA-256"),
        ({"SHA256": "0" * 64}, "so it was not run"),
        ({"GLIBC": "99.0"}, "needs 99.0 or newer"),
        ({"FREE_MB": "999999999"}, "the installation needs 999999999 MB"),
        ({"FREE_INODES": "99999999999999"}, "files (inodes) are free"),
        ({"ARCHITECTURE": "mips"}, "correct or drop that variable"),
        ({"PREFIX": "relative/conda"}, "not an absolute path"),
        ({"PREFIX": "/tmp/a b"}, "characters that conda cannot live with"),  # noqa: S108
        ({"PREFIX": "/tmp/" + "x" * 120}, "characters long"),  # noqa: S108
        ({"PREFIX": "/proc/conda"}, "/proc"),
        ({"URL": "file:///nowhere/x.sh"}, "not there or not readable"),
        ({"URL": "http://127.0.0.1:9/x.sh"}, "could not be downloaded (curl"),
        ({"CA_BUNDLE": "/nowhere.pem"}, "miniconda_ca_bundle"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_refused_in_one_sentence_and_leaves_nothing(
    account: Account, parameters: dict[str, str], part: str
) -> None:
    status, sentence = account.run(**parameters)
    assert status == "refused"
    assert part in sentence
    assert sentence.endswith(".")
    assert account.tree() == set()


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda prefix: prefix.symlink_to("nowhere"), "link to a place that does not exist"),
        (lambda prefix: prefix.write_text("x"), "not a conda installation"),
        (lambda prefix: (prefix / "notes").mkdir(parents=True), "not a conda installation"),
    ],
)
def test_what_stands_in_the_way_is_named_and_stays(account: Account, make: object, part: str) -> None:
    assert callable(make)
    make(account.prefix)
    before = account.tree()
    status, sentence = account.run()
    assert (status, part in sentence) == ("refused", True)
    assert account.tree() == before


def test_an_empty_folder_is_filled(account: Account) -> None:
    account.prefix.mkdir()
    assert account.run()[0] == "changed"


def test_an_environment_of_the_users_keeps_the_prefix(account: Account) -> None:
    account.run()
    for name in ("jupyter", "thesis"):
        (account.prefix / "envs" / name / "conda-meta").mkdir(parents=True)
    ours = str(account.prefix / "envs" / "jupyter")
    for mode in ("remove-check", "remove"):
        status, sentence = account.run(mode, REMOVABLE=ours)
        assert status == "unchanged"
        assert "( thesis )" in sentence
    both = ours + "\n" + str(account.prefix / "envs" / "thesis")
    assert account.run("remove", REMOVABLE=both, KEEP="yes")[0] == "unchanged"
    assert account.run("remove", REMOVABLE=both)[0] == "changed"
    assert account.tree() == set()


def test_a_home_that_knew_conda_before_keeps_its_list_of_environments(account: Account) -> None:
    known = account.folder / "home" / ".conda" / "environments.txt"
    known.parent.mkdir()
    known.write_text("/opt/other\n")
    account.run()
    account.run("remove")
    assert known.read_text() == "/opt/other\n"


def test_a_removal_broken_off_is_finished_by_the_next_run_of_either_kind(account: Account) -> None:
    account.run()
    (account.prefix / ".nbfleet-installed").rename(account.prefix / ".nbfleet-removing")
    next(account.prefix.glob("conda-meta/conda-*")).unlink()
    assert account.run()[0] == "changed"
    (account.prefix / ".nbfleet-installed").rename(account.prefix / ".nbfleet-removing")
    assert account.run("remove")[0] == "changed"
    assert account.tree() == set()


def test_a_prefix_for_a_machine_is_refused_where_others_than_root_could_write(account: Account) -> None:
    status, sentence = account.run(SHARER="max")
    assert status == "refused"
    assert ("can be written by others than root" if os.geteuid() == 0 else "needs root") in sentence
    assert not account.prefix.exists()
