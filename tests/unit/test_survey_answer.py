"""The survey's answer, read out of whatever a shell prints around it."""

from __future__ import annotations

import platform
import shlex
import subprocess
import time
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from role_code import load

PATH = "/usr/local/bin:/usr/bin:/bin"
ROLE = Path(__file__).resolve().parents[2] / "roles" / "survey"


survey = load("survey", "survey", "filter_plugins")
survey_answer = survey.survey_answer
survey_work = survey.survey_work


def ask(
    home: Path,
    prefix: str,
    shell: str = "sh",
    *,
    things: str = "",
    wanted: str = "digest",
    keepers: str = "",
    path: str = PATH,
    doctor: dict[str, str] | None = None,
) -> str:
    words = {
        "SURVEY_PREFIX": prefix,
        "SURVEY_RECEIPT": f"{home}/receipt",
        "SURVEY_OWNER": f"{home}/owner",
        "SURVEY_WANTED": wanted,
        "SURVEY_THINGS": things,
        "SURVEY_KEEPERS": keepers or f"user absent.service {home}",
        "SURVEY_KEPT": f"{home}/kept",
        "SURVEY_LINGER": "no",
        "SURVEY_LISTENER": f"{home}/absent.sock",
    }
    if doctor is not None:
        words |= {f"SURVEY_{name}": doctor.get(name, "") for name in DOCTOR}
    script = "".join(f"{key}={shlex.quote(value)}\n" for key, value in words.items())
    script += (ROLE / "files" / "survey.sh").read_text().replace("timeout -k 2 10 ", "timeout -k 2 1 ")
    if doctor is not None:
        script = script.replace("# @MORE@", (ROLE / "files" / "doctor.sh").read_text())
    environment = {"HOME": str(home), "PATH": path}
    run = subprocess.run([shell], input=script, env=environment, check=True, capture_output=True, text=True)
    assert run.stderr == ""
    return run.stdout


def test_this_machine_answers_every_question(tmp_path: Path) -> None:
    answer = survey_answer(ask(tmp_path, "@HOME@/miniconda3"))
    assert answer["home"] == str(tmp_path)
    assert answer["system"] == "Linux"
    assert isinstance(answer["uid"], int)
    assert isinstance(answer["home_free_mb"], int)
    assert isinstance(answer["libc_version"], str)
    assert answer["prefix_python"] is False
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_python_in_the_prefix_is_seen_under_the_mark_for_home(tmp_path: Path, shell: str) -> None:
    python = tmp_path / "conda" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    assert survey_answer(ask(tmp_path, "@HOME@/conda", shell))["prefix_python"] is True


def program(folder: Path, name: str, text: str) -> None:
    """Put a shell script where a program is looked for."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_a_python_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    tools, home = tmp_path / "tools", tmp_path / "home"
    for folder, name in ((tools, "python3"), (home / "conda" / "bin", "python")):
        program(folder, name, "sleep 60")
    program(tools, "python3.14", "echo /opt/python3.14")
    began = time.monotonic()
    answer = survey_answer(ask(home, "@HOME@/conda", path=f"{tools}:{PATH}", doctor={}))
    assert time.monotonic() - began < 30
    assert (answer["prefix_python"], answer["python"]) == (False, "/opt/python3.14")
    assert (answer["listening"], answer["machine_python"]) == (False, "broken")


def only(tools: Path, *names: str) -> str:
    """Return a PATH with this machine's programs but for some."""
    tools.mkdir(parents=True, exist_ok=True)
    for folder in ("/bin", "/usr/bin"):
        for path in Path(folder).iterdir():
            if path.name not in names and not (tools / path.name).exists():
                (tools / path.name).symlink_to(path)
    return str(tools)


def test_where_no_time_can_be_set_nothing_is_given_up(tmp_path: Path) -> None:
    program(tmp_path / "home" / "conda" / "bin", "python", "exit 0")
    path = only(tmp_path / "tools", "timeout")
    assert survey_answer(ask(tmp_path / "home", "@HOME@/conda", path=path))["prefix_python"] is True


DOCTOR = {
    "URLS": "https://mirror.example.org/x",
    "PROXY": "http://me:secret@proxy:3128",
    "NO_PROXY": "intra.example.org",
    "CA_BUNDLE": "/etc/own.pem",
}
TOLD = 'echo "$*|$https_proxy|$no_proxy" >"$HOME/told"\n'


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("printf '200 200'", "200"),
        ("printf '000 407'; exit 56", "407"),
        ("printf '000 200'; exit 28", "000"),
        ("printf '000 000'; exit 7", "000"),
        ("printf '000 000'; exit 60", "certificate"),
    ],
)
def test_the_doctor_asks_with_proxy_and_certificates(tmp_path: Path, said: str, code: str) -> None:
    program(tmp_path / "tools", "curl", TOLD + said)
    answer = survey_answer(ask(tmp_path, "@HOME@/conda", path=f"{tmp_path}/tools:{PATH}", doctor=DOCTOR))
    assert answer["urls"] == [f"{code} https://mirror.example.org/x"]
    words, proxy, direct = (tmp_path / "told").read_text().strip().split("|")
    assert "--cacert /etc/own.pem" in words
    assert "secret" not in words
    assert (proxy, direct) == (DOCTOR["PROXY"], DOCTOR["NO_PROXY"])


@pytest.mark.parametrize(
    ("said", "code"),
    [("echo '  HTTP/1.1 404 Not Found' >&2; exit 8", "404"), ("exit 5", "certificate"), ("exit 4", "000")],
)
def test_the_doctor_asks_by_wget_where_no_curl_is(tmp_path: Path, said: str, code: str) -> None:
    path = only(tmp_path / "tools", "curl", "wget")
    program(tmp_path / "tools", "wget", TOLD + said)
    answer = survey_answer(ask(tmp_path, "@HOME@/conda", path=path, doctor=DOCTOR))
    assert answer["urls"] == [f"{code} https://mirror.example.org/x"]
    words, proxy, direct = (tmp_path / "told").read_text().strip().split("|")
    assert "--ca-certificate=/etc/own.pem" in words
    assert (proxy, direct) == (DOCTOR["PROXY"], DOCTOR["NO_PROXY"])


def test_the_doctor_says_what_is_not_there(tmp_path: Path) -> None:
    path = only(
        tmp_path / "tools", "curl", "wget", "tmux", "screen", *(f.name for f in Path("/usr/bin").glob("python3*"))
    )
    answer = survey_answer(ask(tmp_path, "@HOME@/conda", path=path, doctor=DOCTOR))
    assert (answer["machine_python"], answer["session_by"]) == ("none", "setsid")
    assert answer["urls"] == ["none https://mirror.example.org/x"]


def test_noise_around_the_answer_is_left_out() -> None:
    lines = [
        "Welcome!",
        "linger=no",
        "<<nbfleet survey 1>>",
        "linger=yes",
        "uid=1000",
        "<<end of nbfleet survey>>",
        "bye",
    ]
    assert survey_answer("\r\n".join(lines)) == {"linger": True, "uid": 1000, "differs": [], "sources": {}}


def test_a_version_stays_text() -> None:
    answer = survey_answer("<<nbfleet survey 1>>\nlibc_version=2\nhostname=42\n<<end of nbfleet survey>>\n")
    assert answer == {"libc_version": "2", "hostname": "42", "differs": [], "sources": {}}


@pytest.mark.parametrize("said", ["", "This account is not available.\n", "<<nbfleet survey 1>>\nuser=ann\n"])
def test_an_answer_that_is_missing_or_cut_short_is_refused(said: str) -> None:
    with pytest.raises(AnsibleFilterError, match="did not answer the survey"):
        survey_answer(said)


def test_a_receipt_names_what_stands_differently_afterwards(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("one\n")
    note = "file @HOME@/.bashrc\nexists @HOME@/absent"
    assert survey_answer(ask(tmp_path, "@HOME@/conda", things=note))["receipt"] == "written"
    assert survey_answer(ask(tmp_path, "@HOME@/conda"))["differs"] == []
    (tmp_path / ".bashrc").write_text("two\n")
    (tmp_path / "absent").touch()
    answer = survey_answer(ask(tmp_path, "@HOME@/conda"))
    assert answer["differs"] == [f"{tmp_path}/.bashrc", f"{tmp_path}/absent"]
    assert survey_work(answer) == ["~/.bashrc changed", "~/absent changed", "the service is not reachable"]


def test_a_damaged_receipt_is_none(tmp_path: Path) -> None:
    ask(tmp_path, "@HOME@/conda", things="file @HOME@/.bashrc")
    receipt = tmp_path / "receipt"
    receipt.write_text(receipt.read_text().replace("\nend", ""))
    assert survey_work(survey_answer(ask(tmp_path, "@HOME@/conda"))) == ["no receipt of an earlier run"]


def test_another_wish_is_a_reason_to_look_again(tmp_path: Path) -> None:
    ask(tmp_path, "@HOME@/conda", things="file @HOME@/.bashrc")
    answer = survey_answer(ask(tmp_path, "@HOME@/conda", wanted="other"))
    assert answer["differs"] == ["what is asked of the account"]


def test_what_it_was_made_from_is_compared_with_what_is_there_now(tmp_path: Path) -> None:
    ask(tmp_path, "@HOME@/conda", things="source lock abc\nsource none \nfile @HOME@/.bashrc")
    answer = survey_answer(ask(tmp_path, "@HOME@/conda"))
    assert answer["differs"] == []
    assert answer["sources"] == {"lock": "abc", "none": ""}
    service = "the service is not reachable"
    assert survey_work(answer, sources={"lock": "abc", "none": "", "never noted": ""}) == [service]
    assert survey_work(answer, sources={"lock": "abd", "new": "x"}) == ["the lock changed", "the new changed", service]


def test_a_changed_file_of_a_tree_is_seen_and_a_compiled_one_is_not(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "__pycache__").mkdir(parents=True)
    (tree / "module.py").write_text("x = 1\n")
    ask(tmp_path, "@HOME@/conda", things="tree @HOME@/tree")
    (tree / "__pycache__" / "module.pyc").write_bytes(b"compiled")
    assert survey_answer(ask(tmp_path, "@HOME@/conda"))["differs"] == []
    (tree / "module.py").write_text("x = 22\n")
    assert survey_answer(ask(tmp_path, "@HOME@/conda"))["differs"] == [str(tree)]


class TestAHomeOfManyMachines:
    HERE = platform.node()

    def test_it_has_the_plain_names_where_nobody_else_is(self, tmp_path: Path) -> None:
        ask(tmp_path, "@HOME@/conda", things="file @HOME@/.bashrc")
        answer = survey_answer(ask(tmp_path, "@HOME@/conda"))
        assert (answer["apart"], answer["others"], answer["receipt"]) == ("", "", True)

    @pytest.mark.parametrize("owner", [f"{'0' * 32} {HERE}", "{machine} renamed"])
    def test_the_machine_is_known_by_its_name_or_by_its_id(self, tmp_path: Path, owner: str) -> None:
        machine = survey_answer(ask(tmp_path, "@HOME@/conda"))["machine"]
        (tmp_path / "owner").write_text(owner.format(machine=machine) + "\n")
        assert survey_answer(ask(tmp_path, "@HOME@/conda"))["apart"] == ""

    def test_another_machine_s_home_gives_this_one_names_of_its_own(self, tmp_path: Path) -> None:
        ask(tmp_path, "@HOME@/conda", things="file @HOME@/.bashrc")
        (tmp_path / "owner").write_text(f"{'0' * 32} another\n")
        answer = survey_answer(ask(tmp_path, "@HOME@/conda"))
        assert (answer["apart"], answer["others"]) == (f"-{self.HERE}", f"{tmp_path}/receipt")
        assert answer["receipt"] is False
        ask(tmp_path, "@HOME@/conda", things="file @HOME@/.bashrc")
        (tmp_path / "owner").unlink()  # the first one was removed; this one's names stay what they are
        (tmp_path / "receipt").unlink()
        answer = survey_answer(ask(tmp_path, "@HOME@/conda"))
        assert (answer["apart"], answer["others"], answer["receipt"]) == (f"-{self.HERE}", "", True)

    @pytest.mark.parametrize("kind", ["nfs", "smb2", "lustre", "gpfs"])
    def test_a_network_s_file_system_gives_every_machine_its_own_from_the_start(
        self, tmp_path: Path, kind: str
    ) -> None:
        # This kernel has no network file system; coreutils' stat answers for it, and only for the home's type.
        tools, home = tmp_path / "tools", tmp_path / "home"
        tools.mkdir()
        home.mkdir()
        stat = tools / "stat"
        stat.write_text(
            f'#!/bin/sh\ncase "$*" in "-f -c %T {home}") echo {kind} ;; *) exec /usr/bin/stat "$@" ;; esac\n'
        )
        stat.chmod(0o755)
        assert survey_answer(ask(home, "@HOME@/conda", path=f"{tools}:{PATH}"))["apart"] == f"-{self.HERE}"
