#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the configuration of one conda prefix."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: prefix_condarc
short_description: Write the configuration of a conda prefix
description:
  - In a prefix that bears nbfleet's mark, C(.condarc) is written whole; the vendor's file is kept beside it.
  - In a prefix of somebody else only C(condarc.d/nbfleet.yml) is written, and only if there is something to say.
  - Users' own C(~/.condarc) is never touched.
options:
  prefix:
    description: The prefix.
    type: path
    required: true
  content:
    description: Text of the configuration for a prefix of ours.
    type: str
    default: ""
  foreign_content:
    description: Text of the configuration for a prefix of somebody else; empty means no file.
    type: str
    default: ""
  certificates:
    description: File that the configuration names and that must be there; empty means none.
    type: str
    default: ""
  mode:
    description: Mode of the file.
    type: str
    default: "0644"
  state:
    description: With V(absent) the vendor's configuration is put back.
    type: str
    choices: [present, absent]
    default: present
author: nbfleet
"""

EXAMPLES = r"""
- name: Use conda-forge
  prefix_condarc:
    prefix: /home/robert/miniconda3
    content: "channels: [conda-forge]\n"
"""

RETURN = r"""
path:
  description: The file that counts.
  type: str
  returned: always
"""

MARKS = (".nbfleet-installed", ".nbfleet-started")
VENDORS_COPY = ".nbfleet-vendor-condarc"
SIGN = "# Written by nbfleet"


class RefusedError(Exception):
    """What was asked cannot be done; the text is a sentence for the user."""


def read(path: Path) -> str | None:
    """Return the text of `path`, None if there is no such file.

    Raises:
        RefusedError: It is there and cannot be read.
    """
    try:
        return path.read_text(errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RefusedError(f"{path} cannot be read ({error.strerror}); correct its rights, and run again") from error


def write(path: Path, text: str, mode: int) -> None:
    """Replace `path` by `text` in one step.

    Raises:
        RefusedError: There is no room or no right to; the file is as before.
    """
    temporary = ""
    try:
        path.parent.mkdir(exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".nbfleet-new.", dir=path.parent)
        with os.fdopen(descriptor, "w", errors="surrogateescape") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise RefusedError(
            f"{path} cannot be written ({error.strerror}); make room or correct its rights, "
            "or set conda_config's values in ~/.condarc yourself, and run again"
        ) from error


def unlink(path: Path) -> None:
    """Remove `path`.

    Raises:
        RefusedError: There is no right to.
    """
    try:
        path.unlink()
    except OSError as error:
        raise RefusedError(f"{path} cannot be removed ({error.strerror}); correct its rights, and run again") from error


def wanted(
    *, present: bool, ours: bool, content: str, foreign_content: str, vendors: str | None
) -> tuple[str, str | None]:
    """Return the file that counts, relative to the prefix, and its text (None: no such file).

    Args:
        present: Whether the configuration shall be there.
        ours: Whether nbfleet installed the prefix.
        content: Text for a prefix of ours.
        foreign_content: Text for a prefix of somebody else.
        vendors: The vendor's own .condarc, None if there was none.
    """
    if ours:
        return ".condarc", content if present else vendors
    return "condarc.d/nbfleet.yml", (foreign_content or None) if present else None


def half(prefix: Path) -> bool:
    """Tell whether the installer has yet to run once more, as far as files show; it writes its own .condarc anew."""
    installed = (prefix / MARKS[0]).exists()
    return not installed or not any(prefix.glob("lib/python3*/site-packages/conda/__init__.py"))


def shown(path: Path, was: str | None, text: str | None) -> str:
    """Return what changes in `path`, with passwords and tokens in addresses made unreadable."""
    lines = difflib.unified_diff(
        masked(was or "").splitlines(),
        masked(text or "").splitlines(),
        f"before: {path}",
        f"after: {path}",
        lineterm="",
    )
    return "".join(f"{line}\n" for line in lines)


def masked(text: str) -> str:
    """Return `text` without the passwords and tokens of the addresses in it."""
    return re.sub(r"(/t/)[^/\s]+", r"\1***", re.sub(r"(://)[^/@\s]*@", r"\1***@", text))


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do what the module was asked for; return its result.

    Raises:
        RefusedError: It cannot be done; nothing was changed.
    """
    prefix = Path(module.params["prefix"])
    present = module.params["state"] == "present"
    mode = int(module.params["mode"], 8)
    exists = (prefix / "conda-meta").is_dir()
    if not exists and not present:
        return {"changed": False, "path": ""}
    if not exists and not module.check_mode:
        raise RefusedError(f"there is no conda in {prefix}; install it first (role miniconda) or correct the prefix")
    # In a dry run on a bare account the prefix is still to come, and will be ours.
    ours = not exists or any((prefix / mark).exists() for mark in MARKS)

    certificates = module.params["certificates"]
    if present and certificates and not os.access(certificates, os.R_OK):
        raise RefusedError(
            f"conda_config_ssl_verify names {certificates}, which is not there or not readable; correct the path"
        )

    kept = prefix / VENDORS_COPY
    vendors = read(kept)
    name, text = wanted(
        present=present,
        ours=ours,
        content=module.params["content"],
        foreign_content=module.params["foreign_content"],
        vendors=vendors,
    )
    path = prefix / name
    was = read(path)
    if not present and was is not None and not was.startswith(SIGN):
        text = was  # somebody has put his own there meanwhile
    wrong_mode = present and was is not None and text is not None and path.stat().st_mode & 0o777 != mode
    leftover = not present and ours and vendors is not None
    foretold = module.check_mode and present and ours and half(prefix)
    result = {
        "changed": was != text or wrong_mode or leftover or foretold,
        "path": str(path),
        "diff": {"prepared": shown(path, was, text)},
    }
    if module.check_mode or not result["changed"]:
        return result
    if text is None:
        if was is not None:
            unlink(path)
        if not ours:
            with contextlib.suppress(OSError):
                path.parent.rmdir()
    else:
        # The installer writes its own file anew each time it runs, so the newest of the vendor's counts.
        if ours and present and was is not None and not was.startswith(SIGN):
            write(kept, was, 0o644)
        write(path, text, mode if present else 0o644)
    if leftover:
        unlink(kept)
    return result


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "content": {"type": "str", "default": "", "no_log": True},
            "foreign_content": {"type": "str", "default": "", "no_log": True},
            "certificates": {"type": "str", "default": ""},
            "mode": {"type": "str", "default": "0644"},
            "state": {"choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except RefusedError as refusal:
        module.fail_json(msg=f"{os.uname().nodename}: {refusal}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
