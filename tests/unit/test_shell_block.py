"""The block in the shells' start files: nothing of the user's may get lost, whatever stands there."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

FILE = Path(__file__).parents[2] / "roles" / "shell_profile" / "library" / "shell_block.py"
spec = importlib.util.spec_from_file_location("shell_block", FILE)
assert spec is not None
assert spec.loader is not None
shell_block: Any = importlib.util.module_from_spec(spec)
sys.modules["shell_block"] = shell_block
spec.loader.exec_module(shell_block)

# A busy machine is no defect.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

BLOCK: bytes = shell_block.block_for("bash", "/home/robert/miniconda3")
OTHER_BLOCK: bytes = shell_block.block_for("bash", "/data/robert/conda")

PATH_LINE = b'# added by Miniconda3 installer\nexport PATH="/home/robert/miniconda3/bin:$PATH"\n'
NUMBERED_PATH_LINE = b'# added by Anaconda3 5.2.0 installer\nexport PATH="/home/robert/anaconda3/bin:$PATH"\n'
CONDA_INIT = (
    b"# added by Miniconda3 4.5.12 installer\n# >>> conda init >>>\n"
    b"# !! Contents within this block are managed by 'conda init' !!\n"
    b"__conda_setup=\"$(CONDA_REPORT_ERRORS=false '/opt/c/bin/conda' shell.bash hook 2> /dev/null)\"\n"
    b'if [ $? -eq 0 ]; then\n    \\eval "$__conda_setup"\nfi\nunset __conda_setup\n# <<< conda init <<<\n'
)
CONDA_INITIALIZE = (
    b"# >>> conda initialize >>>\n# !! Contents within this block are managed by 'conda init' !!\n"
    b"__conda_setup=\"$('/opt/c/bin/conda' 'shell.bash' 'hook' 2> /dev/null)\"\n"
    b"unset __conda_setup\n# <<< conda initialize <<<\n"
)
HISTORIC = [PATH_LINE, NUMBERED_PATH_LINE, CONDA_INIT, CONDA_INITIALIZE]
LIKE_BUT_NOT = [
    b'export PATH="/home/robert/miniconda3/bin:$PATH"\n',
    b"# added by Miniconda3 installer\nexport EDITOR=vi\n",
    b"# >>> mamba initialize >>>\neval mamba\n# <<< mamba initialize <<<\n",
    b"# >>> conda initialize >>>\nnever closed\n",
    b"# <<< conda initialize <<<\n",
]

plain_line = st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"") + b"\n")
odd_line = st.sampled_from(
    [
        *HISTORIC,
        *LIKE_BUT_NOT,
        BLOCK,
        OTHER_BLOCK,
        *BLOCK.splitlines(keepends=True),
        *CONDA_INIT.splitlines(keepends=True),
        *CONDA_INITIALIZE.splitlines(keepends=True),
        *[piece.replace(b"\n", b"\r\n") for piece in HISTORIC],
        b"\r\n",
        b"\r",
        b"last",
    ]
)
texts = st.one_of(
    st.binary(max_size=200),
    st.tuples(st.lists(st.one_of(plain_line, odd_line), max_size=12), st.booleans()).map(
        lambda drawn: b"".join(drawn[0])[: -1 if drawn[1] else None]
    ),
)
# Lines that nobody could take for ours or conda's.
own_lines = st.lists(
    st.text("abcxyz =$'\"\t", max_size=12).map(lambda line: f"export {line}\n".encode()), max_size=6, unique=True
)


def record_of(text: bytes, block: bytes = BLOCK) -> Any:
    applied = shell_block.apply(text, block)
    return shell_block.Record(text, applied.after, applied.pieces)


@given(texts)
def test_applying_and_removing_gives_the_bytes_back(text: bytes) -> None:
    record = record_of(text)
    assert shell_block.unapply(record.after, record) == text


@given(texts)
def test_applying_twice_is_applying_once(text: bytes) -> None:
    once = shell_block.apply(text, BLOCK).after
    assert shell_block.apply(once, BLOCK).after == once


@given(texts)
@example(b"\x00# <<< nbfleet <<<")
def test_there_is_exactly_one_block_and_nothing_historic_afterwards(text: bytes) -> None:
    after = shell_block.apply(text, BLOCK).after
    # At the beginning of a line; in the middle of one it is the user's.
    assert len(re.findall(rb"(?m)^" + re.escape(shell_block.END), after)) == 1
    assert after.count(BLOCK.partition(b"\n")[2]) == 1
    assert shell_block.apply(after, BLOCK).pieces == ()


@given(texts)
def test_another_prefix_replaces_the_block_where_it_stands(text: bytes) -> None:
    first = shell_block.apply(text, BLOCK).after
    body, other = BLOCK.partition(b"\n")[2], OTHER_BLOCK.partition(b"\n")[2]
    assert shell_block.apply(first, OTHER_BLOCK).after == first.replace(body, other)


@given(texts)
def test_a_record_survives_its_file(text: bytes) -> None:
    record = record_of(text)
    assert shell_block.Record.from_json(record.to_json()) == record


@given(own_lines, own_lines, own_lines)
def test_what_others_write_around_the_block_survives_removal(
    top: list[bytes], text: list[bytes], end: list[bytes]
) -> None:
    record = record_of(b"".join(text))
    edited = b"".join([*top, record.after, *end])
    assert shell_block.unapply(edited, record) == b"".join([*top, *text, *end])


# Whatever a person may write that is no mark of ours or conda's: any bytes, any endings, also none at the end.
anybody_s = st.lists(
    st.tuples(st.binary(max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b""])).map(b"".join), max_size=5
).map(lambda parts: b"".join(parts).replace(b"#", b"%"))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), st.sampled_from([BLOCK, OTHER_BLOCK])),
        st.tuples(st.sampled_from(["top", "above", "below", "end", "cut"]), anybody_s),
    ),
    max_size=6,
)


def edited(text: bytes, where: str, new: bytes) -> bytes:
    """Do what a person does to a file: lines at its ends, or just above or below our block; the first line cut out."""
    begin, end = text.find(shell_block.BEGIN), text.find(shell_block.END) + len(shell_block.END) + 1
    if where == "cut":
        line = text.find(b"\n") + 1
        return text[line:] if 0 < line <= begin or begin < 0 else text
    if begin < 0:
        return new + text
    place = {"top": 0, "above": begin, "below": end, "end": len(text)}[where]
    if place == len(text) and not text.endswith(b"\n"):
        new = b"\n" + new
    return text[:place] + new + (b"" if place == len(text) or new.endswith(b"\n") else b"\n") + text[place:]


def without_block(text: bytes) -> bytes:
    """Cut our block out of a file that holds one, and nothing else like it."""
    begin = text.find(shell_block.BEGIN)
    return text if begin < 0 else text[:begin] + text[text.find(shell_block.END) + len(shell_block.END) + 1 :]


@example(b"no end", [("apply", BLOCK), ("above", b"x")])
@given(anybody_s, steps)
def test_whatever_others_write_between_our_runs_is_all_that_is_left(
    text: bytes, order: list[tuple[str, bytes]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file, record = Path(folder, "start"), None
        file.write_bytes(text)
        for number, (what, new) in enumerate([*order, ("apply", BLOCK)]):
            if what != "apply":
                # A last line like no other: else a line above the block may be the one that had no end, or not.
                head, newline, last = new.rpartition(b"\n")
                file.write_bytes(edited(file.read_bytes(), what, head + newline + f"{number}:".encode() + last))
            elif change := shell_block.plan_present(file, new, record):
                record = change.record
                file.write_bytes(change.becomes)
        final = file.read_bytes()
        change = shell_block.plan_absent(file, record)
        left = final if change is None else change.becomes or b""
        # The newline that we put behind a last line without one is ours as long as that line is the last one.
        assert left in (without_block(final), without_block(final)[:-1])
        joined = final.endswith(BLOCK.replace(shell_block.BEGIN, shell_block.BEGIN + shell_block.JOINED))
        assert record is not None
        kept = final[: final.find(shell_block.BEGIN)].splitlines(keepends=True)
        was_last = (record.before or b"").splitlines(keepends=True)
        if not joined or not kept or not was_last or was_last[-1] + b"\n" != kept[-1]:
            assert left == without_block(final)


@given(own_lines)
def test_without_a_record_the_block_alone_goes(text: list[bytes]) -> None:
    before = b"".join(text)
    assert shell_block.unapply(shell_block.apply(before, BLOCK).after, None) == before


@given(st.binary(max_size=60).filter(lambda text: b"#" not in text))
def test_without_a_record_a_missing_final_newline_is_missing_again(text: bytes) -> None:
    assert shell_block.unapply(shell_block.apply(text, BLOCK).after, None) == text


@pytest.mark.parametrize("historic", HISTORIC)
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_each_historic_form_goes_whole_and_alone(historic: bytes, ending: bytes) -> None:
    text = b"alias a=b\n" + historic.replace(b"\n", ending) + b"alias c=d\n"
    assert shell_block.apply(text, BLOCK).after == b"alias a=b\nalias c=d\n" + BLOCK


@pytest.mark.parametrize("line", LIKE_BUT_NOT)
def test_what_only_looks_like_conda_stays(line: bytes) -> None:
    assert shell_block.apply(line, BLOCK).after == line + BLOCK


def test_a_path_line_that_conda_init_commented_out_goes_too() -> None:
    text = (
        b"# added by Miniconda3 installer\n"
        b'# export PATH="/home/r/miniconda3/bin:$PATH"  # commented out by conda initialize\n'
    )
    assert shell_block.apply(text, BLOCK).after == BLOCK


def test_lines_taken_out_go_back_between_their_neighbours_after_others_edited() -> None:
    record = record_of(b"one\n" + PATH_LINE + b"two\n" + CONDA_INITIALIZE + b"three\n")
    edited = b"zero\n" + record.after.replace(b"two\n", b"more\ntwo\n") + b"four\n"
    assert (
        shell_block.unapply(edited, record)
        == b"zero\none\n" + PATH_LINE + b"more\ntwo\n" + CONDA_INITIALIZE + b"three\nfour\n"
    )


def test_lines_taken_out_are_not_doubled_when_the_user_put_them_back() -> None:
    record = record_of(b"one\n" + PATH_LINE)
    edited = record.after + PATH_LINE
    assert shell_block.unapply(edited, record) == b"one\n" + PATH_LINE


def test_a_line_appended_behind_the_block_keeps_its_own_line() -> None:
    record = record_of(b"no end")
    assert shell_block.unapply(record.after + b"export A=1\n", record) == b"no end\nexport A=1\n"


def test_a_block_that_lost_its_end_is_not_left_lying_about() -> None:
    broken = shell_block.apply(b"one\n", BLOCK).after.replace(shell_block.END + b"\n", b"") + b"two\n"
    assert shell_block.apply(broken, BLOCK).after == b"one\ntwo\n" + BLOCK


@pytest.mark.parametrize("prefix", ["/home/a b/conda", "/home/$x/conda", "relative", "/o'brien", "/a!b"])
def test_a_prefix_that_shells_read_differently_is_refused(prefix: str) -> None:
    with pytest.raises(shell_block.RefusedError, match="choose a plain absolute path"):
        shell_block.block_for("bash", prefix)


# The module against real files.


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def run(
    home: Path, *, state: str = "present", check: bool = False, shells: tuple[str, ...] = ("bash",)
) -> dict[str, Any]:
    params = {"home": str(home), "prefix": "/opt/conda", "shells": list(shells), "state": state}
    result: dict[str, Any] = shell_block.run(SimpleNamespace(params=params, check_mode=check))
    return result


def tree(home: Path) -> dict[str, tuple[int, bytes | str]]:
    return {
        str(path.relative_to(home)): (
            path.lstat().st_mode,
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b"",
        )
        for path in home.rglob("*")
    }


@pytest.mark.parametrize(
    "shells", [("bash",), ("bash", "zsh"), ("bash", "tcsh"), ("bash", "csh"), ("bash", "fish"), ()]
)
def test_a_bare_home_is_bare_again_after_removal(home: Path, shells: tuple[str, ...]) -> None:
    predicted = run(home, shells=shells, check=True)
    assert tree(home) == {}
    done = run(home, shells=shells)
    assert predicted["diff"] == done["diff"]
    assert done["changed"] is bool(shells)
    assert run(home, shells=shells)["changed"] is False
    assert run(home, shells=shells, check=True)["changed"] is False
    run(home, shells=shells, state="absent")
    assert tree(home) == {}
    assert run(home, shells=shells, state="absent")["changed"] is False


def test_links_modes_and_bytes_come_back(home: Path) -> None:
    (home / "dots").mkdir()
    real = home / "dots" / "rc"
    real.write_bytes(b"caf\xe9\r\n" + PATH_LINE + b"\xff\xfe no end")
    real.chmod(0o640)
    (home / ".bashrc").symlink_to("dots/rc")
    before = tree(home)
    run(home)
    assert (home / ".bashrc").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert b"added by" not in real.read_bytes()
    run(home, state="absent")
    assert tree(home) == before


def test_a_link_to_nowhere_is_refused_and_named(home: Path) -> None:
    (home / ".bashrc").symlink_to("gone")
    with pytest.raises(shell_block.RefusedError, match=r"\.bashrc is a link to .*gone, which does not exist"):
        run(home)
    assert str((home / ".bashrc").readlink()) == "gone"


def test_two_names_of_one_file_get_one_block(home: Path) -> None:
    (home / ".bashrc").write_bytes(b"x\n")
    (home / ".zshrc").symlink_to(".bashrc")
    run(home, shells=("bash", "zsh"))
    assert (home / ".bashrc").read_bytes().count(shell_block.BEGIN) == 1
    assert run(home, shells=("bash", "zsh"))["changed"] is False


def test_an_existing_cshrc_is_not_hidden_by_a_new_tcshrc(home: Path) -> None:
    (home / ".cshrc").write_bytes(b"alias l ls\n")
    run(home, shells=("tcsh",))
    assert not (home / ".tcshrc").exists()
    assert b"nbfleet" in (home / ".cshrc").read_bytes()


def test_zsh_files_are_found_where_zdotdir_says(home: Path) -> None:
    (home / ".config" / "zsh").mkdir(parents=True)
    (home / ".zshenv").write_text('export ZDOTDIR="$HOME/.config/zsh"\n')
    run(home, shells=("zsh",))
    assert (home / ".config" / "zsh" / ".zshrc").exists()


def test_an_edit_inside_the_block_is_kept_in_a_copy_and_told(home: Path) -> None:
    (home / ".bashrc").write_bytes(b"mine\n")
    run(home)
    edited = (home / ".bashrc").read_bytes().replace(b"case $-", b"export INSIDE=1\ncase $-")
    (home / ".bashrc").write_bytes(edited)
    result = run(home, state="absent")
    assert (home / ".bashrc").read_bytes() == b"mine\n"
    assert [Path(path).read_bytes() for path in result["backups"]] == [edited]
    assert result["backups"][0] in result["msg"]


def test_conda_init_run_later_is_taken_out_and_given_back(home: Path) -> None:
    (home / ".bashrc").write_bytes(b"mine\n" + PATH_LINE)
    run(home)
    with (home / ".bashrc").open("ab") as stream:
        stream.write(CONDA_INITIALIZE)
    assert run(home)["changed"] is True
    assert b"conda initialize" not in (home / ".bashrc").read_bytes()
    run(home, state="absent")
    assert (home / ".bashrc").read_bytes() == b"mine\n" + PATH_LINE + CONDA_INITIALIZE


@pytest.mark.parametrize("name", [".bashrc", ".zshrc"])
def test_where_a_mistake_ends_the_reading_the_block_stands_before_it(home: Path, name: str) -> None:
    shell, rc = name[1:-2], home / name
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not on this machine")
    run(home, shells=(shell,))
    broken, block = b"mine\n" + PATH_LINE + b"if true; then\n", rc.read_bytes()
    for before in (broken + block, broken):  # the mistake came after us, or was there
        rc.write_bytes(before)
        assert run(home, shells=(shell,))["changed"] is True
        assert rc.read_bytes() == block + b"mine\nif true; then\n"
        assert run(home, shells=(shell,))["changed"] is False
        run(home, shells=(shell,), state="absent")
        assert rc.read_bytes() == broken


def test_a_full_disk_leaves_the_file_as_it_was(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".bashrc").write_bytes(b"mine\n")
    real_fsync = os.fsync

    def full(descriptor: int) -> None:
        if ".bashrc" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(28, "No space left on device")
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(shell_block.RefusedError, match="No space left on device"):
        run(home)
    assert (home / ".bashrc").read_bytes() == b"mine\n"
    assert sorted(path.name for path in home.iterdir()) == [".bashrc", ".local"]
    monkeypatch.undo()
    run(home)
    run(home, state="absent")
    assert [path.name for path in home.iterdir()] == [".bashrc"]


def test_the_record_is_private(home: Path) -> None:
    run(home)
    folder = home / ".local" / "state" / "nbfleet"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "shell_profile.json").stat().st_mode & 0o777 == 0o600


def test_the_diff_shows_no_line_of_the_user(home: Path) -> None:
    (home / ".bashrc").write_bytes(b"export SECRET=hunter2\n")
    shown = "".join(part["prepared"] for part in run(home, check=True)["diff"])
    assert "nbfleet" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "tcsh", "fish"])
@pytest.mark.parametrize("conda", [True, False])
def test_a_shell_that_is_not_interactive_says_nothing_and_succeeds(tmp_path: Path, shell: str, conda: bool) -> None:
    prefix = tmp_path / "conda"
    for name in ("etc/profile.d/conda.sh", "etc/profile.d/conda.csh", "etc/fish/conf.d/conda.fish"):
        if conda:
            (prefix / name).parent.mkdir(parents=True, exist_ok=True)
            (prefix / name).write_text("echo sourced\n")
    rc = tmp_path / "rc"
    rc.write_bytes(shell_block.block_for("bash" if shell == "dash" else shell, str(prefix)))
    try:
        done = subprocess.run([shell, str(rc)], capture_output=True, check=False, env={"PATH": os.environ["PATH"]})
    except FileNotFoundError:
        pytest.skip(f"{shell} is not on this machine")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("conda", [True, False])
def test_an_interactive_bash_sources_conda_and_only_what_is_there(tmp_path: Path, conda: bool) -> None:
    hook = tmp_path / "conda" / "etc" / "profile.d" / "conda.sh"
    if conda:
        hook.parent.mkdir(parents=True)
        hook.write_text("echo sourced; false\n")
    rc = tmp_path / "rc"
    rc.write_bytes(b"set -e\n" + shell_block.block_for("bash", str(tmp_path / "conda")) + b"echo status $?\n")
    done = subprocess.run(
        ["bash", "--rcfile", str(rc), "-i", "-c", "true"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout.split() == (["sourced"] if conda else []) + ["status", "0"]


def test_a_folder_that_another_machine_made_meanwhile_is_taken_and_not_counted_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.mkdir

    def late(path: Path, mode: int = 0o777) -> None:
        if path.name == "state":
            real(path)
        real(path, mode=mode)

    monkeypatch.setattr(Path, "mkdir", late)
    folder = tmp_path / "local" / "state" / "nbfleet"
    assert shell_block.make_folders(folder, 0o700) == [str(folder), str(tmp_path / "local")]
    (tmp_path / "file").touch()
    with pytest.raises(shell_block.RefusedError, match="cannot be made"):
        shell_block.make_folders(tmp_path / "file" / "nbfleet", 0o700)


def test_removal_takes_the_folders_that_two_runs_at_once_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.mkdir

    def late(path: Path, mode: int = 0o777) -> None:
        if path.name == "nbfleet":
            monkeypatch.undo()
            run(home)  # the other one
        real(path, mode=mode)

    monkeypatch.setattr(Path, "mkdir", late)
    run(home)
    assert (home / ".local" / "state" / "nbfleet").is_dir()
    run(home, state="absent")
    assert tree(home) == {}
