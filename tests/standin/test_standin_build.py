"""The builder: wheels become right packages, the channel is whole, the second call is quick."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.standin.builder import archive, download, installer, wheels
from tests.standin.builder.suites import SUITES

pytestmark = pytest.mark.sampled("stand-in")
HERE = Path(__file__).resolve().parent


def make_wheel(
    folder: Path, name: str, metadata: str = "", *, pure: bool = True, members: dict[str, str] | None = None
) -> Path:
    path = folder / f"{name}-1.0-{'py3-none-any' if pure else 'cp311-cp311-manylinux_2_28_x86_64'}.whl"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(f"{name}-1.0.dist-info/METADATA", f"Name: {name}\nVersion: 1.0\n{metadata}\n")
        made.writestr(f"{name}-1.0.dist-info/WHEEL", f"Root-Is-Purelib: {str(pure).lower()}\n")
        for member, text in (members or {}).items():
            made.writestr(member.replace("INFO", f"{name}-1.0.dist-info"), text)
    return path


def convert(path: Path, *others: Path, suite: str = "bookworm") -> archive.Package:
    read = [wheels.read(one, SUITES[suite]) for one in (path, *others)]
    return wheels.convert(read[0], {one.name: one for one in read})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Jinja2", "jinja2"),
        ("Jupyter_Server", "jupyter_server"),
        ("jupyter.resource-usage", "jupyter-resource-usage"),
        ("tzdata", "python-tzdata"),
    ],
)
def test_names_are_those_of_conda_forge(name: str, expected: str) -> None:
    assert wheels.conda_name(name) == expected


def test_requirements_of_other_systems_and_of_extras_are_left_out(tmp_path: Path) -> None:
    metadata = (
        "Requires-Python: >=3.9\nRequires-Dist: six>=1.2,<2\nRequires-Dist: pywin32; sys_platform == 'win32'\n"
        "Requires-Dist: tomli; python_version < '3.11'\nRequires-Dist: pytest; extra == 'test'\n"
    )
    wheel = make_wheel(tmp_path, "one", metadata)
    assert convert(wheel).depends == ["python >=3.9", "six <2,>=1.2"]
    assert convert(wheel, suite="bullseye").depends == ["python >=3.9", "six <2,>=1.2", "tomli"]


def test_an_extra_that_is_asked_for_brings_its_requirements(tmp_path: Path) -> None:
    other = make_wheel(tmp_path, "two", "Requires-Dist: six\nRequires-Dist: tqdm>=4; extra == 'more'\n")
    package = convert(make_wheel(tmp_path, "one", "Requires-Dist: two[more]\n"), other)
    assert package.depends == ["python >=3.8", "tqdm >=4", "two"]


def test_a_pure_wheel_becomes_noarch_with_entry_points_and_prefix_data(tmp_path: Path) -> None:
    path = make_wheel(
        tmp_path, "one",
        members={
            "one/a.py": "", "INFO/entry_points.txt": "[console_scripts]\nOne = one.a:main\n",
            "one-1.0.data/data/share/x.txt": "x", "one-1.0.data/scripts/go": "#!python\nprint()\n",
        },
    )  # fmt: skip
    package = convert(path)
    files = {item.path: item for item in package.files}
    assert package.noarch
    assert package.subdir == "noarch"
    assert package.entry_points == ["One = one.a:main"]
    assert {"site-packages/one/a.py", "share/x.txt", "python-scripts/go"} <= set(files)
    assert files["python-scripts/go"].data.startswith(f"#!{archive.PLACEHOLDER}/bin/python\n".encode())
    assert files["python-scripts/go"].placeholder == "text"


def test_a_compiled_wheel_becomes_a_package_of_this_platform_with_start_scripts(tmp_path: Path) -> None:
    path = make_wheel(
        tmp_path, "one", pure=False, members={"INFO/entry_points.txt": "[console_scripts]\none = one.a:Main.go [x]\n"}
    )
    package = convert(path)
    script = next(item for item in package.files if item.path == "bin/one")
    assert package.subdir == "linux-64"
    assert package.depends == ["python >=3.11,<3.12.0a0", "python_abi 3.11.* *_cp311"]
    assert b"from one.a import Main\n" in script.data
    assert b"sys.exit(Main.go())" in script.data


def test_the_same_package_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    package = convert(make_wheel(tmp_path, "one", members={"one/a.py": "x = 1\n"}))
    first = archive.write(package, tmp_path / "first")
    package.files.reverse()
    assert archive.write(package, tmp_path / "second") == first


def test_a_lock_with_two_versions_of_a_name_is_asked_for_in_two_calls() -> None:
    groups = download.groups("# note\nsix==1.0 --hash=sha256:a\ntqdm==1 --hash=sha256:b\nsix==2.0 --hash=sha256:c\n")
    assert groups == ["six==1.0 --hash=sha256:a\ntqdm==1 --hash=sha256:b\n", "six==2.0 --hash=sha256:c\n"]


def test_the_base_environment_is_what_its_packages_need_in_the_newest_version() -> None:
    entries = [
        {"name": "a", "version": "1.9", "depends": ["b >=1"]},
        {"name": "a", "version": "1.10", "depends": ["c"]},
        {"name": "b", "version": "1", "depends": []},
        {"name": "c", "version": "1", "depends": []},
    ]
    assert [(item["name"], item["version"]) for item in installer.closure(entries, ["a"])] == [
        ("a", "1.10"),
        ("c", "1"),
    ]


def test_every_package_of_the_index_is_there_with_its_sum(distribution: dict[str, str]) -> None:
    channel = Path(distribution["root"]) / distribution["channel"]
    count = 0
    for subdir in ("linux-64", "noarch"):
        index = json.loads((channel / subdir / "repodata.json").read_text())
        for name, entry in index["packages.conda"].items():
            data = (channel / subdir / name).read_bytes()
            assert hashlib.sha256(data).hexdigest() == entry["sha256"], name
            assert len(data) == entry["size"], name
            count += 1
    assert count > 100


def test_every_dependency_is_in_the_channel(distribution: dict[str, str]) -> None:
    channel = Path(distribution["root"]) / distribution["channel"]
    entries = [
        entry
        for subdir in ("linux-64", "noarch")
        for entry in json.loads((channel / subdir / "repodata.json").read_text())["packages.conda"].values()
    ]
    names = {entry["name"] for entry in entries}
    assert {spec.split()[0] for entry in entries for spec in entry["depends"]} - names == set()
    assert {"jupyter", "notebook", "jupyterlab", "ipython", "jupyter-resource-usage", "bash_kernel", "conda"} <= names


def test_the_installers_sum_is_the_one_that_the_builder_names(distribution: dict[str, str], installer: Path) -> None:
    assert hashlib.sha256(installer.read_bytes()).hexdigest() == distribution["sha256"]


def test_a_second_build_of_the_same_inputs_takes_less_than_a_second(distribution: dict[str, str]) -> None:
    cache = Path(distribution["root"]).parents[1]
    seconds = []
    for _ in range(3):  # the best of three: a busy machine is not what is tested
        started = time.monotonic()
        subprocess.run([sys.executable, str(HERE / "build.py"), "--cache", str(cache)], check=True, capture_output=True)
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 1
