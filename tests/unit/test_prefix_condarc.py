"""The configuration of a conda prefix: ours is written whole, somebody else's keeps its own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / "roles" / "conda_config" / "library" / "prefix_condarc.py"
spec = importlib.util.spec_from_file_location("prefix_condarc", FILE)
assert spec is not None
assert spec.loader is not None
prefix_condarc: Any = importlib.util.module_from_spec(spec)
sys.modules["prefix_condarc"] = prefix_condarc
spec.loader.exec_module(prefix_condarc)

VENDORS = "channels:\n  - defaults\n"
OURS = "# Written by nbfleet; x\nchannels: [conda-forge]\n"
REACH = "# Written by nbfleet; x\nproxy_servers: {https: 'http://robert:hunter2@proxy:3128'}\n"


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / ".condarc").write_text(VENDORS)
    return tmp_path


def run(prefix: Path, *, check: bool = False, **params: str) -> dict[str, Any]:
    given = {"content": OURS, "foreign_content": "", "certificates": "", "mode": "0644", "state": "present"}
    module = SimpleNamespace(params={"prefix": str(prefix), **given, **params}, check_mode=check)
    result: dict[str, Any] = prefix_condarc.run(module)
    return result


def files(prefix: Path) -> dict[str, str]:
    return {str(path.relative_to(prefix)): path.read_text() for path in prefix.rglob("*") if path.is_file()}


def test_a_dry_run_foretells_that_the_installer_will_write_its_own_file_over_ours(prefix: Path) -> None:
    (prefix / ".nbfleet-installed").touch()
    package = prefix / "lib" / "python3.13" / "site-packages" / "conda" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.touch()
    run(prefix)
    assert run(prefix, check=True)["changed"] is False
    package.unlink()
    assert run(prefix, check=True)["changed"] is True


def test_our_prefix_gets_our_file_once_and_the_vendors_back_afterwards(prefix: Path) -> None:
    (prefix / ".nbfleet-installed").touch()
    before = files(prefix)
    assert run(prefix, check=True)["changed"] is True
    assert files(prefix) == before
    assert run(prefix)["changed"] is True
    assert (prefix / ".condarc").read_text() == OURS
    assert run(prefix)["changed"] is False
    assert run(prefix, state="absent")["changed"] is True
    assert files(prefix) == before
    assert run(prefix, state="absent")["changed"] is False


def test_an_installer_that_wrote_its_own_file_again_is_overruled(prefix: Path) -> None:
    (prefix / ".nbfleet-installed").touch()
    run(prefix)
    (prefix / ".condarc").write_text(VENDORS + "solver: rattler\n")
    assert run(prefix)["changed"] is True
    run(prefix, state="absent")
    assert (prefix / ".condarc").read_text() == VENDORS + "solver: rattler\n"


def test_a_prefix_of_somebody_else_is_left_alone_by_default(prefix: Path) -> None:
    before = files(prefix)
    assert run(prefix)["changed"] is False
    assert files(prefix) == before


def test_a_prefix_of_somebody_else_learns_only_the_way_to_the_packages(prefix: Path) -> None:
    before = files(prefix)
    assert run(prefix, foreign_content=REACH)["changed"] is True
    assert files(prefix) == {**before, "condarc.d/nbfleet.yml": REACH}
    assert run(prefix, foreign_content=REACH)["changed"] is False
    assert run(prefix, state="absent")["changed"] is True
    assert files(prefix) == before
    assert not (prefix / "condarc.d").exists()


def test_a_file_of_somebody_elses_is_not_removed(prefix: Path) -> None:
    (prefix / ".nbfleet-installed").touch()
    run(prefix)
    (prefix / ".condarc").write_text("channels: [bioconda]\n")
    run(prefix, state="absent")
    assert (prefix / ".condarc").read_text() == "channels: [bioconda]\n"


def test_a_dry_run_on_a_bare_account_foretells_our_file(tmp_path: Path) -> None:
    result = run(tmp_path / "conda", check=True)
    assert (result["changed"], result["path"]) == (True, str(tmp_path / "conda" / ".condarc"))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_prefix_is_named_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(prefix_condarc.RefusedError, match=r"there is no conda in .*; install it first"):
        run(tmp_path / "conda")
    assert run(tmp_path / "conda", state="absent")["changed"] is False


def test_passwords_are_kept_from_other_users_and_from_the_diff(prefix: Path) -> None:
    (prefix / ".nbfleet-installed").touch()
    come = run(prefix, content=REACH, mode="0600")["diff"]["prepared"]
    assert (prefix / ".condarc").stat().st_mode & 0o777 == 0o600
    go = run(prefix)["diff"]["prepared"]
    assert "hunter2" not in come + go
    assert "://***@proxy" in come


def test_certificates_that_are_not_there_are_refused_before_anything_changes(prefix: Path) -> None:
    (prefix / ".nbfleet-installed").touch()
    with pytest.raises(prefix_condarc.RefusedError, match=r"names /no/such\.pem"):
        run(prefix, certificates="/no/such.pem")
    assert (prefix / ".condarc").read_text() == VENDORS
