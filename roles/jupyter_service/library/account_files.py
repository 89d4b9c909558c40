#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Keep a handful of an account's files and folders, and one secret, in a single round trip."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: account_files
short_description: Keep a handful of an account's files and folders, and one secret
description:
  - Check mode, diff and action come from the same comparison. Files are written under a temporary name and renamed.
  - The secret is 64 hexadecimal digits without a newline, made here and never seen in a result.
  - Folders that had to be made are noted in O(record), so that O(state=absent) takes away those and no others.
options:
  folders:
    description: Folders with their path and mode; without a mode an existing one keeps its own.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: The folder., type: path, required: true}
      mode: {description: Such as V(0700)., type: str}
  files:
    description: Files with their path, content and mode.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: The file., type: path, required: true}
      content: {description: Its whole content., type: str}
      mode: {description: Such as V(0600)., type: str, default: '0600'}
      python:
        description: Whether it is Python, which is written only when it can be read as such.
        type: bool
        default: false
  secret:
    description: The file of the secret.
    type: path
  variables_file:
    description: File of variables in systemd's form, of mode 0600; gone when there are none.
    type: path
  variables:
    description: Names and values for O(variables_file); the values are seen nowhere.
    type: dict
    default: {}
  new_secret:
    description: Make another secret even where there is one.
    type: bool
    default: false
  claim:
    description: File that says whose O(files) these are, where others may want the same; empty for none.
    type: str
    default: ''
  claimant:
    description: The names of who comes; O(claim) is his who came first, and his who has one of the names in it.
    type: list
    elements: str
    default: []
  record:
    description: File in which folders that had to be made are noted.
    type: path
    required: true
  state:
    description: V(absent) removes the files, the secret, and the noted folders as far as they are empty.
    type: str
    choices: [present, absent]
    default: present
author: nbfleet
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Keep the service's files
  account_files:
    record: /home/robert/.config/nbfleet/made.json
    folders: [{path: /home/robert/.config/nbfleet, mode: '0700'}]
    files: [{path: /home/robert/.config/nbfleet/server_config.py, content: "c = get_config()\n"}]
    secret: /home/robert/.config/nbfleet/token
"""

RETURN = r"""# nothing beyond changed and diff"""


class Change(NamedTuple):
    """One thing that is not as it should be; texts are for a diff and never a secret."""

    kind: str  # "claim", "folder", "file", "secret", "variables" or "mode"
    path: Path
    before: str
    after: str
    mode: int | None


def wanted_changes(params: dict[str, Any]) -> list[Change]:
    """Compare what is there with what was asked for; nothing is changed."""
    changes = []
    if params["claim"]:
        path, text = Path(params["claim"]), " ".join(params["claimant"]) + "\n"
        if (before := _text(path)) != text:
            changes.append(Change("file" if before else "claim", path, before or "", text, 0o600))
    for folder in params["folders"]:
        path, mode = Path(folder["path"]), _mode(folder["mode"])
        if not path.is_dir():
            changes.append(Change("folder", path, "", "folder\n", mode))
        elif mode is not None and _mode_of(path) != mode:
            changes.append(_mode_change(path, mode))
    for file in params["files"]:
        path, mode, before = Path(file["path"]), _mode(file["mode"]), _text(Path(file["path"]))
        if before != file["content"] or path.is_symlink():
            changes.append(Change("file", path, before or "", file["content"], mode))
        elif mode is not None and _mode_of(path) != mode:
            changes.append(_mode_change(path, mode))
    if params["variables_file"]:
        path, text = Path(params["variables_file"]), systemd_variables(params["variables"])
        before = _text(path) or ""
        if before != text or path.is_symlink():
            changes.append(Change("variables", path, _names(before, text), _names(text, before), 0o600))
        elif text and _mode_of(path) != 0o600:
            changes.append(_mode_change(path, 0o600))
    if params["secret"]:
        path = Path(params["secret"])
        if not is_secret(path):
            before = "not 64 hexadecimal digits\n" if path.exists() else ""
            changes.append(Change("secret", path, before, "64 hexadecimal digits\n", 0o600))
        elif params["new_secret"]:
            changes.append(Change("secret", path, "64 hexadecimal digits\n", "64 other hexadecimal digits\n", 0o600))
        elif _mode_of(path) != 0o600:
            changes.append(_mode_change(path, 0o600))
    return changes


def mistake(files: list[dict[str, Any]]) -> str:
    """Return where a file's new content is no Python, in a sentence; empty when all is well."""
    for file in files:
        try:
            if file["python"]:
                compile(file["content"], file["path"], "exec")
        except SyntaxError as error:
            return (
                f"{file['path']} would have a mistake in its line {error.lineno} ({error.msg}: "
                f"{(error.text or '').strip()[:80]}), so nothing was changed; correct jupyter_service_extra_config."
            )
    return ""


def another_s(claim: str, claimant: list[str]) -> str:
    """Return whose a claim is already, in a sentence; empty when it is the claimant's or nobody's."""
    there = (_text(Path(claim)) or "").split() if claim else []
    if not there or set(there) & set(claimant):
        return ""
    return (
        f"{claim} says that {there[-1]}, which has this home, too, was first; nothing of it was changed. "
        "Run again, and this machine has its own beside it."
    )


def systemd_variables(variables: dict[str, str]) -> str:
    """Return variables in the form of systemd's EnvironmentFile; empty for none."""
    quoted = {name: re.sub(r'(["\\`$])', r"\\\1", value) for name, value in sorted(variables.items())}
    return "".join(f'{name}="{value}"\n' for name, value in quoted.items())


def _names(text: str, other: str) -> str:
    """Return the names of the variables in a text, those marked that `other` has with another value."""
    values = dict(line.partition("=")[::2] for line in other.splitlines())
    pairs = [line.partition("=")[::2] for line in text.splitlines()]
    return "".join(f"{name}{'=another value' if values.get(name, value) != value else ''}\n" for name, value in pairs)


def is_secret(path: Path) -> bool:
    """Say whether the file holds what a server can rely on: an empty one would leave it open."""
    if path.is_symlink() or not path.is_file():
        return False
    return re.fullmatch(rb"[0-9a-f]{64}", path.read_bytes()) is not None


def _mode(text: str | None) -> int | None:
    return int(text, 8) if text else None


def _mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _mode_change(path: Path, mode: int) -> Change:
    return Change("mode", path, f"mode {_mode_of(path):04o}\n", f"mode {mode:04o}\n", mode)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


def carry_out(changes: list[Change], record: Path, variables: dict[str, str]) -> None:
    """Do what the comparison found; of the variables a change has the names only."""
    made = list[Path]()
    for change in changes:
        made += make_folder(change.path if change.kind == "folder" else change.path.parent)
        if change.kind == "claim":
            write(change.path, change.after, change.mode, anew=True)
        elif change.kind == "file":
            write(change.path, change.after, change.mode)
        elif change.kind == "secret":
            write(change.path, secrets.token_hex(32), change.mode)
        elif change.kind == "variables":
            if variables:
                write(change.path, systemd_variables(variables), change.mode)
            else:
                change.path.unlink()
        elif change.mode is not None:
            change.path.chmod(change.mode)
    made += make_folder(record.parent)
    noted = recorded(record)  # by another run at the same time, too
    if set(made) - set(noted):
        folders = sorted({*noted, *made}, key=lambda path: (len(path.parts), path))
        write(record, json.dumps({"folders": [str(path) for path in folders]}) + "\n", 0o600)


def recorded(record: Path) -> list[Path]:
    """Return the folders that had to be made, outermost first."""
    try:
        return [Path(path) for path in json.loads(record.read_text(encoding="utf-8"))["folders"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def make_folder(path: Path) -> list[Path]:
    """Make a folder and those above it that are missing; returns those that were made, outermost first."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    made = []
    for folder in reversed(missing):
        try:
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
            continue  # another run, or another machine that has this home, was quicker, and notes it
        made.append(folder)
    return made


def write(path: Path, text: str, mode: int | None, *, anew: bool = False) -> None:
    """Write under a name of its own and rename, so that nobody ever sees half a file, nor two writers each other's.

    Raises:
        FileExistsError: It was to be written anew, and is there.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=_unfinished(path))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as new:
            new.write(text)
            new.flush()
            os.fsync(new.fileno())
            os.fchmod(new.fileno(), 0o600 if mode is None else mode)
        if anew:
            path.touch(exist_ok=False)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _unfinished(path: Path) -> str:
    return f".{path.name}.nbfleet-new."


def unwanted(params: dict[str, Any]) -> tuple[list[Path], list[Path]]:
    """Return the files that go, and the folders that go if nothing else is in them, innermost first."""
    record = Path(params["record"])
    named = [Path(file["path"]) for file in params["files"]]
    files = [*named, *(Path(params[name]) for name in ("secret", "variables_file", "claim") if params[name]), record]
    compiled = [file for path in named for file in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")]
    folders = [*{file.parent: None for file in compiled}, *recorded(record)[::-1]]
    # Of a run that was killed in the middle of writing.
    unfinished = [left for path in files for left in path.parent.glob(f"{_unfinished(path)}*")]
    return compiled + unfinished + [path for path in files if path.exists() or path.is_symlink()], folders


def remove(files: list[Path], folders: list[Path]) -> None:
    """Take the files away, and the folders as far as they are empty then."""
    for path in files:
        path.unlink()
    for path in folders:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def main() -> None:
    """Read the arguments, act, and answer."""
    folder = {"path": {"type": "path", "required": True}, "mode": {"type": "str"}}
    file = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str"},
        "mode": {"type": "str", "default": "0600"},
        "python": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            "folders": {"type": "list", "elements": "dict", "default": [], "options": folder},
            "files": {"type": "list", "elements": "dict", "default": [], "options": file},
            # The path of the secret is no secret.
            "secret": {"type": "path", "no_log": False},
            "variables_file": {"type": "path"},
            "variables": {"type": "dict", "default": {}, "no_log": True},
            "new_secret": {"type": "bool", "default": False, "no_log": False},
            "claim": {"type": "str", "default": ""},
            "claimant": {"type": "list", "elements": "str", "default": []},
            "record": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        if module.params["state"] == "absent":
            files, folders = unwanted(module.params)
            if not module.check_mode:
                remove(files, folders)
            diff = [{"before": "".join(f"{path}\n" for path in files), "after": ""}] if files else []
            module.exit_json(changed=bool(files), diff=diff)
        claim, claimant = module.params["claim"], module.params["claimant"]
        if wrong := mistake(module.params["files"]) or another_s(claim, claimant):
            module.fail_json(msg=wrong)
        changes = wanted_changes(module.params)
        if not module.check_mode and changes:
            carry_out(changes, Path(module.params["record"]), module.params["variables"])
    except FileExistsError:
        module.fail_json(
            msg=another_s(claim, claimant)
            or f"{claim} was begun by another run at this moment; run again, and remove the file if that says the same."
        )
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename}: {error.strerror or error}; free some space, or give the folder back to its user."
        )
    named = [(str(change.path), change) for change in changes]
    diff = [{"before_header": p, "after_header": p, "before": c.before, "after": c.after} for p, c in named]
    module.exit_json(changed=bool(changes), diff=diff)


if __name__ == "__main__":
    main()
