"""Where the playbooks are: in the checkout, or inside the installed wheel."""

from __future__ import annotations

import os
from pathlib import Path

from nbfleet.errors import SetupError

PACKAGE = Path(__file__).resolve().parent


def checkout() -> Path | None:
    """Return the root of the checkout that this driver runs from, or None for an installed wheel."""
    root = PACKAGE.parent.parent
    return root if (root / "playbooks" / "site.yml").exists() and (root / "roles").is_dir() else None


def playbook(name: str) -> Path:
    """Return the path of a playbook such as `site`.

    Raises:
        SetupError: The playbooks did not come with this installation.
    """
    root = checkout()
    folder = root / "playbooks" if root else PACKAGE / "_content" / "playbooks"
    path = folder / f"{name}.yml"
    if not path.exists():
        raise SetupError(f"There is no playbook {path}.", hint="Install nbfleet again, or run it from its checkout.")
    return path


def role_file(role: str, name: str) -> str:
    """Return the text of a file that a role runs on an account, for the driver to run it as well."""
    return (playbook("site").parent / "roles" / role / "files" / name).read_text()


def ansible_config() -> Path | None:
    """Return the ansible.cfg that came with nbfleet; None where Ansible finds one of the user's."""
    ours = (checkout() or PACKAGE / "_content") / "ansible.cfg"
    theirs = [Path.cwd() / "ansible.cfg", Path.home() / ".ansible.cfg", Path("/etc/ansible/ansible.cfg")]
    return None if "ANSIBLE_CONFIG" in os.environ or any(path.exists() for path in theirs) else ours


def default_inventory() -> Path | None:
    """Return the inventory that is used without -i: of this folder, else of the checkout; None without any."""
    root = checkout()
    candidates = [Path.cwd() / "inventory" / "hosts.yml"]
    if root:
        candidates.append(root / "inventory" / "hosts.yml")
    return next((path for path in candidates if path.exists()), None)
