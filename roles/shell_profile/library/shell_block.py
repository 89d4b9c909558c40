#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the one block by which interactive shells find conda."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import difflib
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:
    from collections.abc import Iterable

DOCUMENTATION = r"""
module: shell_block
short_description: Keep exactly one block that makes conda known to interactive shells
description:
  - Takes out what older conda installers and C(conda init) wrote into the start files of an account's shells, and
    puts one marked block there that sources conda's own shell hook.
  - Everything else in the files stays byte for byte. With O(state=absent) the files become what they were.
  - Keeps a private record of what it changed in C(~/.local/state/nbfleet).
options:
  home:
    description: Home of the account.
    type: path
    required: true
  prefix:
    description: Where conda lives. Not needed for O(state=absent).
    type: path
  shells:
    description: Shells to serve (bash, zsh, tcsh, csh, fish); other names are passed over.
    type: list
    elements: str
    default: [bash]
  state:
    description: Whether the block shall be there.
    type: str
    choices: [present, absent]
    default: present
author: nbfleet
"""

EXAMPLES = r"""
- name: Let bash and fish know conda
  shell_block:
    home: /home/robert
    prefix: /home/robert/miniconda3
    shells: [bash, fish]
"""

RETURN = r"""
files:
  description: What was done to each file, by its path.
  type: dict
  returned: always
backups:
  description: Copies of files in which somebody had edited our block.
  type: list
  elements: str
  returned: always
"""

BEGIN = b"# >>> nbfleet >>>"
END = b"# <<< nbfleet <<<"
# Behind BEGIN when the line before had no newline and got one from us.
JOINED = b" (after a line without an end)"

_OWN = (
    rb"^" + re.escape(BEGIN) + rb"(?P<joined>" + re.escape(JOINED) + rb")?[ \t]*\r?\n"
    rb"(?P<body>(?:(?!# [><]{3} nbfleet [><]{3}).*\n)*?)" + re.escape(END) + rb"[ \t]*\r?(?:\n|\Z)"
)
# What is left of our block where somebody deleted one of its ends.
_STRAY = (
    rb"^(?:# >>> nbfleet >>>.*(?:\n|\Z)(?:# conda for interactive shells\. .*(?:\n|\Z))?"
    rb"(?:case \$- in \*i\*\) if \[ -r .*(?:\n|\Z))?|# <<< nbfleet <<<.*(?:\n|\Z))"
)

_ADDED_BY = rb"# added by (?:Mini|Ana)conda[0-9]?(?: [^\s]+)? installer[ \t]*\r?\n"
_PATH_LINE = (
    rb"[ \t]*(?:# )?export PATH=[\"']?[^\"'\r\n:]*/bin:\$\{?PATH\}?[\"']?"
    rb"(?:  # commented out by conda initialize)?[ \t]*\r?(?:\n|\Z)"
)


def _marked(name: bytes) -> bytes:
    return (
        rb"# >>> conda " + name + rb" >>>[ \t]*\r?\n(?:(?!# [><]{3} conda init).*\n)*?"
        rb"# <<< conda " + name + rb" <<<[ \t]*\r?(?:\n|\Z)"
    )


# The three forms that conda's installers and `conda init` have written over the years, oldest first.
_HISTORIC = (
    rb"^(?:"
    + rb"|".join((_ADDED_BY + _PATH_LINE, rb"(?:" + _ADDED_BY + rb")?" + _marked(b"init"), _marked(b"initialize")))
    + rb")"
)
_ANY = re.compile(
    rb"(?P<own>" + _OWN + rb")|(?P<stray>" + _STRAY + rb")|(?P<historic>" + _HISTORIC + rb")", re.MULTILINE
)
_BODY = re.compile(_OWN, re.MULTILINE)


class RefusedError(Exception):
    """What was asked cannot be done; the text is a sentence for the user."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """Lines taken out of a file: before which line of the file as we left it they stood."""

    line: int
    text: bytes


@dataclasses.dataclass(frozen=True)
class Applied:
    """A start file with our block: its bytes, and the historic lines that had to go for it."""

    after: bytes
    pieces: tuple[Piece, ...]


@dataclasses.dataclass(frozen=True)
class Record:
    """What one file was before us (None: not there) and how we left it."""

    before: bytes | None
    after: bytes
    pieces: tuple[Piece, ...]
    folders: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values."""
        return {
            "before": None if self.before is None else _ascii(self.before),
            "after": _ascii(self.after),
            "pieces": [[piece.line, _ascii(piece.text)] for piece in self.pieces],
            "folders": list(self.folders),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Record:
        """Return the record that `to_json` made `value` from."""
        before = value["before"]
        return cls(
            before=None if before is None else base64.b64decode(before),
            after=base64.b64decode(value["after"]),
            pieces=tuple(Piece(int(line), base64.b64decode(text)) for line, text in value["pieces"]),
            folders=tuple(value["folders"]),
        )


def _ascii(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _lines(text: bytes) -> list[bytes]:
    return re.findall(rb"[^\n]*\n|[^\n]+\Z", text)


def block_for(shell: str, prefix: str) -> bytes:
    """Return our block for `shell` (bash, zsh, tcsh, csh or fish), whole lines with plain newlines.

    It says nothing, ends with status 0, and does nothing in shells that are not interactive or when the
    prefix is not there.

    Raises:
        RefusedError: The prefix has characters that cannot be quoted alike in all shells.
    """
    if not re.fullmatch(r"/[^\s'\"\\`$!*?\[\]{}]*", prefix):
        raise RefusedError(
            f"The conda prefix '{prefix}' cannot be written into shell files; choose a plain absolute path"
        )
    if shell == "fish":
        hook = f"{prefix}/etc/fish/conf.d/conda.fish"
        body = f"if status --is-interactive; and test -r '{hook}'\n    source '{hook}'\nend\n"
    elif shell in {"tcsh", "csh"}:
        hook = f"{prefix}/etc/profile.d/conda.csh"
        body = f"if ( $?prompt ) then\n  if ( -r '{hook}' ) then\n    source '{hook}'\n  endif\nendif\n"
    else:
        hook = f"{prefix}/etc/profile.d/conda.sh"
        body = f"case $- in *i*) if [ -r '{hook}' ]; then . '{hook}' || :; fi ;; esac\n"
    note = "# conda for interactive shells. Changes in this block are lost; put your own lines outside of it.\n"
    return BEGIN + b"\n" + (note + body).encode() + END + b"\n"


def _sort(text: bytes) -> tuple[list[bytes], list[str], bool]:
    """Return the lines of `text`, what each of them is, and whether a line without an end stood before our block.

    A line is "historic", "own" (the first block of ours), "stray" (others, and what is left of broken ones) or
    "" (none of our business). Looks again until nothing is found, as one form may stand within another.
    """
    lines = _lines(text)
    kinds = [""] * len(lines)
    joined = False
    while True:
        rest = [number for number, kind in enumerate(kinds) if not kind]
        found = list(_ANY.finditer(b"".join(lines[number] for number in rest)))
        if not found:
            return lines, kinds, joined
        for match in found:
            kind = str(match.lastgroup if match.lastgroup in {"stray", "historic"} else "own")
            if kind == "own":
                if "own" in kinds:
                    kind = "stray"
                else:
                    joined = match["joined"] is not None
            first = match.string.count(b"\n", 0, match.start())
            for number in rest[first : first + len(_lines(match.group()))]:
                kinds[number] = kind


def apply(text: bytes, block: bytes, *, first: bool = False) -> Applied:
    """Return `text` with exactly one `block` and without the historic forms.

    A block that is there already is replaced where it stands, otherwise it goes to the end; `first` puts it before all.
    """
    lines, kinds, joined = _sort(text)
    out = _lines(block) if first else []
    pieces: list[Piece] = []
    placed = first
    for line, kind in zip(lines, kinds):
        if kind == "own" and not placed:
            out += _lines(block.replace(BEGIN, BEGIN + JOINED, 1) if joined else block)
            placed = True
        elif kind == "historic":
            if pieces and pieces[-1].line == len(out):
                line = pieces.pop().text + line
            pieces.append(Piece(len(out), line))
        elif not kind:
            out.append(line)
    if not placed:
        if out and not out[-1].endswith(b"\n"):
            out[-1] += b"\n"
            block = block.replace(BEGIN, BEGIN + JOINED, 1)
        out += _lines(block)
    return Applied(b"".join(out), tuple(pieces))


def strip(text: bytes, joined_to: bytes | None = None) -> bytes:
    """Return `text` without our blocks and without the newline that we put before one.

    Args:
        text: A start file.
        joined_to: The line that got the newline, where that is known: behind any other one it is not ours.
    """
    lines, kinds, joined = _sort(text)
    kept = [line for line, kind in zip(lines, kinds) if kind not in {"own", "stray"}]
    last = max((number for number, kind in enumerate(kinds) if kind not in {"own", "stray"}), default=-1)
    still_last = kept and "own" in kinds[last + 1 :] and kept[-1].endswith(b"\n")
    if joined and still_last and joined_to in (None, kept[-1]):
        kept[-1] = kept[-1][:-1]
    return b"".join(kept)


def unapply(text: bytes, record: Record | None) -> bytes:
    """Return what `text` would be had we never been there.

    If nobody changed the file since, these are the very bytes of before. Otherwise the block goes, what others
    wrote stays, and the lines taken out go back beside the lines that they stood between.
    """
    if record is None:
        return strip(text)
    if text == record.after:
        return record.before or b""
    if text == record.before:
        return text
    ours, theirs = _lines(record.after), _lines(text)
    where: dict[int, int] = {}
    for same in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks():
        for step in range(same.size):
            where[same.a + step] = same.b + step
    insertions: dict[int, list[bytes]] = {}
    for piece in record.pieces:
        if piece.text in text:
            continue  # somebody has put it back already
        if piece.line == 0:
            place = 0
        elif piece.line - 1 in where:
            place = where[piece.line - 1] + 1
        else:
            place = next((where[number] for number in range(piece.line, len(ours)) if number in where), len(theirs))
        insertions.setdefault(place, []).append(piece.text)
    result: list[bytes] = []
    for number in range(len(theirs) + 1):
        for inserted in [*insertions.get(number, []), *theirs[number : number + 1]]:
            if result and not result[-1].endswith(b"\n"):
                result[-1] += b"\n"
            result.append(inserted)
    return strip(b"".join(result), _lines(record.after.partition(BEGIN)[0] or b"\n")[-1])


def was_edited_inside(text: bytes, record: Record | None) -> bool:
    """Return whether somebody changed our block itself since we wrote it."""
    if record is None:
        return False
    ours = {match["body"] for match in _BODY.finditer(record.after)}
    theirs = [match["body"] for match in _BODY.finditer(text)]
    kinds = _sort(text)[1]
    return any(body not in ours for body in theirs) or (not theirs and "stray" in kinds)


def zsh_folder(home: Path) -> Path:
    """Return the folder of the account's .zshrc: ZDOTDIR where ~/.zshenv sets it plainly, else the home."""
    try:
        text = (home / ".zshenv").read_bytes()
    except OSError:
        return home
    found = re.findall(rb"^[ \t]*(?:export[ \t]+)?ZDOTDIR=[\"']?([^\"'\s;#]+)[\"']?[ \t]*$", text, re.MULTILINE)
    if not found:
        return home
    value = os.fsdecode(found[-1]).replace("${HOME}", str(home)).replace("$HOME", str(home))
    value = value.replace("${XDG_CONFIG_HOME:-", "").replace("}", "")
    if value.startswith("~/"):
        value = str(home) + value[1:]
    folder = Path(value)
    return folder if folder.is_absolute() and folder.is_dir() else home


def start_file(shell: str, home: Path) -> Path | None:
    """Return the file that interactive `shell`s of the account read, None for a shell we do not serve."""
    if shell == "bash":
        return home / ".bashrc"
    if shell == "zsh":
        return zsh_folder(home) / ".zshrc"
    if shell == "tcsh":
        # tcsh reads .cshrc only where there is no .tcshrc: a new .tcshrc would hide the user's .cshrc.
        taken = [home / name for name in (".tcshrc", ".cshrc") if os.path.lexists(home / name)]
        return taken[0] if taken else home / ".tcshrc"
    if shell == "csh":
        return home / ".cshrc"
    if shell == "fish":
        return home / ".config" / "fish" / "config.fish"
    return None


def is_left_early(path: Path, text: bytes) -> bool:
    """Return whether a shell stops reading its start file at a mistake before it comes to our block."""
    words = {".bashrc": ["bash", "-O", "extglob"], ".zshrc": ["zsh", "-f"]}.get(path.name)
    if words is None or not shutil.which(words[0]):
        return False
    before = text.partition(BEGIN)[0]
    try:
        read = subprocess.run([*words, "-n"], input=before, capture_output=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:  # not known: as for a file without a mistake
        return False
    return read.returncode != 0


def real_file(path: Path) -> Path:
    """Return the file behind `path`, through all its links.

    Raises:
        RefusedError: The link leads nowhere, or not to a plain file.
    """
    real = Path(os.path.realpath(path))
    if path.is_symlink() and not real.exists():
        raise RefusedError(
            f"{path} is a link to {real}, which does not exist; make that file or remove the link, and run again"
        )
    if real.exists() and not real.is_file():
        raise RefusedError(f"{path} is not a plain file; move it away, and run again")
    return real


def read(path: Path) -> bytes | None:
    """Return the bytes of `path`, None if there is no such file.

    Raises:
        RefusedError: It is there and cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RefusedError(f"{path} cannot be read ({error.strerror}); correct its rights, and run again") from error


def write(path: Path, data: bytes, mode: int) -> None:
    """Replace `path` by `data` in one step; an existing file keeps its mode, owner and attributes.

    Raises:
        RefusedError: There is no room or no right to; the file is as before.
    """
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if path.exists():
            status = path.stat()
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(temporary, status.st_uid, status.st_gid)
            shutil.copystat(path, temporary)
            os.utime(temporary)
            Path(temporary).chmod(stat.S_IMODE(status.st_mode))
        else:
            Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise RefusedError(
            f"{path} cannot be written ({error.strerror}) and is as before; make room or correct the rights of "
            f"{path.parent}, and run again"
        ) from error


def make_folders(folder: Path, mode: int) -> list[str]:
    """Make `folder` and what is missing above it; return those made, the innermost first.

    Raises:
        RefusedError: It cannot be made.
    """
    missing: list[Path] = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    made: list[str] = []
    for path in reversed(missing):
        try:
            path.mkdir(mode=mode)
        except OSError as error:
            if isinstance(error, FileExistsError) and path.is_dir():
                continue  # another run, or another machine that has this home, was quicker, and notes it
            raise RefusedError(
                f"{path} cannot be made ({error.strerror}); correct the rights of {path.parent}, and run again"
            ) from error
        made.insert(0, str(path))
    return made


class Records:
    """The private record of the account: what each file was before us."""

    def __init__(self, home: Path) -> None:
        self.folder = home / ".local" / "state" / "nbfleet"
        self.path = self.folder / "shell_profile.json"
        self.files, self.folders = self._noted()

    def _noted(self) -> tuple[dict[str, Record], list[str]]:
        text = read(self.path)
        if text is None:
            return {}, []
        try:
            value = json.loads(text)
            files = {path: Record.from_json(one) for path, one in value["files"].items()}
            return files, [str(folder) for folder in value["folders"]]
        except (ValueError, KeyError, TypeError) as error:
            raise RefusedError(
                f"{self.path} is damaged; move it away (the shell files are then restored without it) and run again"
            ) from error

    def save(self) -> None:
        """Write the record, or take it away with our empty folders when there is nothing left to remember."""
        if not self.files:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            remove_folders(self.folders)
            return
        if not self.folder.exists():
            self.folders = make_folders(self.folder, 0o700) + self.folders
        # What another run at the same time made, it has noted by now.
        files, folders = self._noted()
        self.folders = innermost_first(self.folders, folders)
        for path in self.files.keys() & files.keys():
            mine = self.files[path]
            both = innermost_first(mine.folders, files[path].folders)
            self.files[path] = dataclasses.replace(mine, folders=tuple(both))
        value = {"files": {path: one.to_json() for path, one in self.files.items()}, "folders": self.folders}
        write(self.path, json.dumps(value).encode(), 0o600)

    def back_up(self, path: Path, data: bytes) -> str:
        """Keep `data` of `path` beside the record; return where."""
        if not self.folder.exists():
            self.folders = make_folders(self.folder, 0o700) + self.folders
        place = self.folder / f"{path.name.lstrip('.')}.edited-{hashlib.sha256(data).hexdigest()[:8]}"
        write(place, data, 0o600)
        return str(place)


def innermost_first(*folders: Iterable[str]) -> list[str]:
    """Return the folders of several lists, each once, the innermost first."""
    return sorted({one for some in folders for one in some}, key=lambda path: (-path.count("/"), path))


def remove_folders(folders: list[str]) -> None:
    """Remove those of `folders`, innermost first, that are empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


@dataclasses.dataclass(frozen=True)
class Change:
    """One file to be changed: to which bytes (None: away), what is remembered of it, and a copy for the user."""

    path: Path
    real: Path
    was: bytes | None
    becomes: bytes | None
    record: Record | None
    edited: bool


def plan_present(path: Path, block: bytes, record: Record | None) -> Change | None:
    """Return the change that puts `block` into `path`, None if nothing is to be done.

    Raises:
        RefusedError: The file cannot be dealt with.
    """
    real = real_file(path)
    was = read(real)
    applied = apply(was or b"", block, first=is_left_early(path, was or b""))
    if was is not None and applied.after == was:
        return None
    if record is None:
        new = Record(was, applied.after, applied.pieces)
    else:
        before = unapply(was, record) if was is not None else None
        fresh = apply(before or b"", block)
        keep_none = record.before is None and not before
        new = Record(None if keep_none else before, applied.after, fresh.pieces, record.folders)
        # The block stays where it stands; lines taken out earlier are placed as if it were at the end.
        if fresh.after != applied.after:
            new = dataclasses.replace(new, pieces=replaced(fresh, applied.after))
    return Change(path, real, was, applied.after, new, was is not None and was_edited_inside(was, record))


def replaced(fresh: Applied, after: bytes) -> tuple[Piece, ...]:
    """Return the pieces of `fresh` with the line numbers that they have in `after`."""
    ours, theirs = _lines(fresh.after), _lines(after)
    where: dict[int, int] = {len(ours): len(theirs)}
    for same in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks():
        for step in range(same.size):
            where[same.a + step] = same.b + step
    return tuple(
        Piece(next(where[number] for number in range(piece.line, len(ours) + 1) if number in where), piece.text)
        for piece in fresh.pieces
    )


def plan_absent(path: Path, record: Record | None) -> Change | None:
    """Return the change that gives `path` its own bytes back, None if there is nothing of us.

    Raises:
        RefusedError: The file cannot be dealt with.
    """
    if path.is_symlink() and not path.exists():
        return None
    real = real_file(path)
    was = read(real)
    if was is None:
        return None
    becomes: bytes | None = unapply(was, record)
    if record is not None and record.before is None and not becomes:
        becomes = None
    if becomes == was:
        return None
    return Change(path, real, was, becomes, None, was_edited_inside(was, record))


def shown(change: Change) -> str:
    """Return the lines that go and come, without those around them: start files may hold secrets."""
    before = (change.was or b"").decode(errors="replace").splitlines()
    after = (change.becomes or b"").decode(errors="replace").splitlines()
    names = (f"before: {change.path}", f"after: {change.path}")
    return "\n".join(difflib.unified_diff(before, after, *names, n=0, lineterm="")) + "\n"


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do what the module was asked for; return its result.

    Raises:
        RefusedError: Something cannot be dealt with; nothing or only whole files were changed.
    """
    home = Path(module.params["home"])
    present = module.params["state"] == "present"
    records = Records(home)
    files: dict[Path, bytes] = {}
    real: set[str] = set()
    for shell in module.params["shells"]:
        path = start_file(shell, home)
        if path is not None and os.path.realpath(path) not in real:
            real.add(os.path.realpath(path))
            files[path] = block_for(shell, module.params["prefix"].rstrip("/")) if present else b""
    if present:
        changes = [plan_present(path, block, records.files.get(str(path))) for path, block in files.items()]
    else:
        paths = dict.fromkeys([*files, *map(Path, records.files)])
        changes = [plan_absent(path, records.files.get(str(path))) for path in paths]
    todo = [change for change in changes if change is not None]
    forget = [] if present else list(records.files)
    result: dict[str, Any] = {
        "changed": bool(todo or forget),
        "files": {},
        "backups": [],
        "diff": [{"prepared": shown(change)} for change in todo],
    }
    for change in todo:
        action = "removed" if change.becomes is None else "made" if change.was is None else "changed"
        result["files"][str(change.path)] = action
    if module.check_mode:
        return result

    for change in todo:
        if change.edited and change.was is not None:
            result["backups"].append(records.back_up(change.path, change.was))
        if change.becomes is None:
            change.real.unlink()
            continue
        folders = make_folders(change.real.parent, 0o755)
        if change.record is not None:
            # The record first: whatever happens next, what was there is not lost.
            record = dataclasses.replace(change.record, folders=(*folders, *change.record.folders))
            records.files[str(change.path)] = record
            records.save()
        write(change.real, change.becomes, 0o644)
    for name in forget:
        remove_folders(list(records.files.pop(name).folders))
    if forget:
        records.save()
    if result["backups"]:
        result["msg"] = "Somebody had edited the block of nbfleet; the files as they were are kept: " + ", ".join(
            result["backups"]
        )
    return result


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "prefix": {"type": "path"},
            "shells": {"type": "list", "elements": "str", "default": ["bash"]},
            "state": {"choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("prefix",))],
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except RefusedError as refusal:
        module.fail_json(msg=f"{os.uname().nodename}: {refusal}.")
    if result["backups"]:
        module.warn(result["msg"])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
