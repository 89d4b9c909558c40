"""`conda config` of the stand-in: files, their order and merging, and what is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.standin.conftest import Conda

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.sampled("stand-in")


@pytest.fixture
def fresh(installed: Conda, tmp_path: Path) -> Iterator[Conda]:
    """The installation with the condarc that the installer writes, and an empty home."""
    home = tmp_path / "home"
    home.mkdir()
    rc = installed.prefix / ".condarc"
    before = rc.read_text()
    rc.write_text("channels:\n  - defaults\n")
    yield Conda(installed.prefix, home, installed.url)
    rc.write_text(before)


def user(conda: Conda) -> Path:
    return conda.home / ".condarc"


def shown(conda: Conda, *keys: str, **environ: str) -> str:
    return conda("config", "--show", *keys, **environ).out


def test_a_new_user_file_starts_as_a_copy_of_the_installations(fresh: Conda) -> None:
    assert fresh("config", "--set", "auto_activate", "false").code == 0
    assert user(fresh).read_text() == "channels:\n  - defaults\nauto_activate: false\n"
    user(fresh).write_text("")
    fresh("config", "--set", "auto_activate", "false")
    assert user(fresh).read_text() == "auto_activate: false\n"


def test_old_names_are_translated_with_a_warning(fresh: Conda) -> None:
    done = fresh("config", "--set", "auto_activate_base", "no")
    assert "Key auto_activate_base is an alias of auto_activate; setting value with latter" in done.err
    assert shown(fresh, "auto_activate_base") == "auto_activate: False\n"


def test_items_are_added_in_front_or_behind_and_move(fresh: Conda) -> None:
    fresh("config", "--add", "channels", "conda-forge")
    again = fresh("config", "--add", "channels", "conda-forge")
    assert again.err == "Warning: 'conda-forge' already in 'channels' list, moving to the top\n"
    fresh("config", "--append", "channels", "other")
    fresh("config", "--prepend", "channels", "first")
    assert user(fresh).read_text() == "channels:\n  - first\n  - conda-forge\n  - defaults\n  - other\n"


def test_removing(fresh: Conda) -> None:
    user(fresh).write_text("channels:\n  - a\n")
    absent = fresh("config", "--remove", "channels", "b")
    assert (absent.code, absent.err) == (1, "\nCondaKeyError: 'channels': value 'b' not present in config\n\n")
    assert fresh("config", "--remove-key", "channels").code == 0
    twice = fresh("config", "--remove-key", "channels")
    assert (twice.code, twice.err) == (1, "\nCondaKeyError: 'channels': undefined in config\n\n")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("nosuchkey", "1", "CondaKeyError: 'nosuchkey': unknown parameter"),
        ("channels", "x", "CondaKeyError: 'channels': invalid parameter"),
        ("channel_priority", "sometimes", "'sometimes' is not a valid ChannelPriority"),
        ("offline", "maybe", "Parameter offline = 'maybe' declared in --set parameter"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_file_stays(fresh: Conda, key: str, value: str, message: str) -> None:
    user(fresh).write_text("offline: true\n")
    done = fresh("config", "--set", key, value)
    assert done.code == 1
    assert message in done.err
    assert user(fresh).read_text() == "offline: true\n"


def test_comments_stay_and_several_keys_are_set_at_once(fresh: Conda) -> None:
    user(fresh).write_text('# mine\nchannels:   # why\n    - "conda-forge"\nssl_verify: true\n')
    fresh("config", "--set", "auto_update_conda", "no", "--set", "remote_read_timeout_secs", "120")
    assert user(fresh).read_text() == (
        "# mine\nchannels:   # why\n  - conda-forge\nssl_verify: true\nauto_update_conda: false\n"
        "remote_read_timeout_secs: 120.0\n"
    )


def test_the_target_is_the_users_the_systems_or_a_named_file(fresh: Conda, tmp_path: Path) -> None:
    fresh("config", "--system", "--set", "channel_priority", "strict")
    assert (fresh.prefix / ".condarc").read_text() == "channels:\n  - defaults\nchannel_priority: strict\n"
    fresh("config", "--file", str(tmp_path / "x.condarc"), "--set", "changeps1", "false")
    assert (tmp_path / "x.condarc").read_text().endswith("channel_priority: strict\nchangeps1: false\n")
    assert not user(fresh).exists()


def test_lists_are_merged_with_the_more_specific_file_first(fresh: Conda) -> None:
    user(fresh).write_text("channels: [conda-forge]\n")
    assert shown(fresh, "channels") == "channels:\n  - conda-forge\n  - defaults\n"
    assert shown(fresh, "channels", CONDA_CHANNELS="x,y") == "channels:\n  - x\n  - y\n  - conda-forge\n  - defaults\n"


def test_a_final_list_of_the_installation_cannot_be_added_to(fresh: Conda) -> None:
    user(fresh).write_text("channels: [mine]\n")
    (fresh.prefix / ".condarc").write_text("channels:   #!final\n  - base-only\n")
    assert shown(fresh, "channels") == "channels:\n  - base-only\n"
    (fresh.prefix / ".condarc").write_text("channels:\n  - last #!bottom\n  - first #!top\n  - middle\n")
    assert shown(fresh, "channels") == "channels:\n  - first\n  - mine\n  - middle\n  - last\n"


def test_only_well_named_files_of_condarc_are_read(fresh: Conda, tmp_path: Path) -> None:
    for name in ("my.conf", "my.yml"):
        (tmp_path / name).write_text("channels: [zz]\n")
    assert shown(fresh, "channels", CONDARC=str(tmp_path / "my.conf")) == "channels:\n  - defaults\n"
    assert shown(fresh, "channels", CONDARC=str(tmp_path / "my.yml")) == "channels:\n  - zz\n  - defaults\n"


def test_sources_are_shown_with_their_files(fresh: Conda) -> None:
    more = fresh.home / ".conda" / "condarc.d"
    more.mkdir(parents=True)
    (more / "10-x.yml").write_text("channels: [dd]\n")
    assert fresh("config", "--show-sources").out == (
        f"==> {fresh.prefix}/.condarc <==\nchannels:\n  - defaults\n\n==> {more}/10-x.yml <==\nchannels:\n  - dd\n\n"
    )


def test_json_of_some_and_of_all_keys(fresh: Conda) -> None:
    some = fresh("config", "--show", "channels", "default_channels", "--json").json
    assert some["channels"] == ["defaults"]
    assert some["default_channels"][0]["location"] == "repo.anaconda.com"
    every = fresh("config", "--show", "--json").json
    assert {"channel_alias", "envs_dirs", "pkgs_dirs", "proxy_servers", "ssl_verify", "solver"} <= set(every)


def test_a_description(fresh: Conda) -> None:
    assert "# # channel_priority (str)" in fresh("config", "--describe", "channel_priority").out


def test_stdin_is_taken_as_yaml(fresh: Conda) -> None:
    user(fresh).write_text("")
    fresh("config", "--stdin", given="report_errors: false\nchannels:\n  - a\n")
    assert user(fresh).read_text() == "report_errors: false\nchannels:\n  - a\n"


def test_broken_yaml_stops_everything_with_a_report(fresh: Conda) -> None:
    user(fresh).write_text("channels: [a\n")
    done = fresh("list")
    assert done.code == 1
    assert "# >>>>>>>>>>>>>>>>>>>>>> ERROR REPORT <<<<<<<<<<<<<<<<<<<<<<" in done.err
    assert fresh("list", "--json").json["exception_name"] == "ParserError"


def test_unknown_keys_in_a_file_are_ignored(fresh: Conda) -> None:
    user(fresh).write_text("nosuchkey: 1\n")
    assert fresh("list").code == 0
    assert fresh("config", "--validate").code == 0


def test_certificates_that_are_not_there_are_an_error_at_use(fresh: Conda) -> None:
    user(fresh).write_text("ssl_verify: /no/such.pem\n")
    assert fresh("list").code == 0
    answer = fresh("config", "--show", "ssl_verify", "--json")
    assert (answer.code, answer.json["exception_name"]) == (1, "CustomValidationError")


def test_a_channels_name_is_looked_up(fresh: Conda) -> None:
    user(fresh).write_text(
        "channel_alias: http://mirror.invalid/\nchannels: [conda-forge, own, defaults]\n"
        "custom_channels: {own: 'http://own.invalid/conda'}\ndefault_channels: ['http://main.invalid/main']\n"
    )
    (fresh.prefix / ".condarc").write_text("")
    assert fresh("info", "--json").json["channels"][::2] == [
        "http://mirror.invalid/conda-forge/linux-64",
        "http://own.invalid/conda/own/linux-64",
        "http://main.invalid/main/linux-64",
    ]
