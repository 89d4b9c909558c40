"""The Python code of roles, importable as Ansible imports it on an account."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ansible.module_utils
from ansible.parsing.dataloader import DataLoader

if TYPE_CHECKING:
    from types import ModuleType

ROLES = Path(__file__).resolve().parents[2] / "roles"

ansible.module_utils.__path__.extend(str(folder) for folder in sorted(ROLES.glob("*/module_utils")))


def load(role: str, name: str, kind: str = "library") -> ModuleType:
    """Import a role's module, or its plugin of a kind such as `action_plugins`."""
    spec = importlib.util.spec_from_file_location(f"{kind}_{name}", ROLES / role / kind / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def variables(role: str) -> dict[str, Any]:
    """Return a role's defaults and vars, not rendered yet."""
    loader = DataLoader()
    found: dict[str, Any] = {}
    for name in ("defaults", "vars"):
        found |= loader.load_from_file(str(ROLES / role / name / "main.yml"), trusted_as_template=True)
    return found


def load_shared(name: str) -> ModuleType:
    """Import one of the files that roles' modules share."""
    return importlib.import_module(f"ansible.module_utils.{name}")


def keep_environment(base: Path, *, check: bool = False, **params: Any) -> dict[str, Any]:
    """Have the module conda_environment act on the environment of a prefix; what is not given is as by default."""
    module = load("jupyter", "conda_environment")
    given = {name: told.get("default") for name, told in module.ARGUMENTS.items()}
    given |= {"conda_prefix": str(base), "environment": str(base / "envs" / "jupyter"), **params}
    result: dict[str, Any] = module.act(given, check_mode=check)
    return result
