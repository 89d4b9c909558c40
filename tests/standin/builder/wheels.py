"""Turns wheels into conda packages: pure ones into noarch packages, compiled ones into linux-64 packages."""

from __future__ import annotations

import configparser
import email.parser
import hashlib
import json
import re
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .archive import PLACEHOLDER, File, Package

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message
    from pathlib import Path

    from packaging.specifiers import SpecifierSet

    from .suites import Suite

#: What markers such as `sys_platform == "linux"` are measured against: the account's machine, not this one.
_ENVIRONMENT = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_release": "",
    "platform_system": "Linux",
    "platform_version": "",
    "sys_platform": "linux",
}

#: Names that conda-forge writes otherwise than PyPI's normalised form.
CONDA_NAMES = {
    "bash-kernel": "bash_kernel",
    "fastjsonschema": "python-fastjsonschema",
    "ipython-pygments-lexers": "ipython_pygments_lexers",
    "jupyter-client": "jupyter_client",
    "jupyter-console": "jupyter_console",
    "jupyter-core": "jupyter_core",
    "jupyter-events": "jupyter_events",
    "jupyter-server": "jupyter_server",
    "jupyter-server-terminals": "jupyter_server_terminals",
    "jupyterlab-pygments": "jupyterlab_pygments",
    "jupyterlab-server": "jupyterlab_server",
    "jupyterlab-widgets": "jupyterlab_widgets",
    "prometheus-client": "prometheus_client",
    "pure-eval": "pure_eval",
    "ruamel-yaml": "ruamel.yaml",
    "stack-data": "stack_data",
    "typing-extensions": "typing_extensions",
    "tzdata": "python-tzdata",
}

_SCRIPTS = {True: "python-scripts", False: "bin"}
#: Kernels that the distribution registers itself, as conda-forge's packages do: folder, language, arguments, and
#: whether the wheel brings its own `kernel.json` whose program name is only `python`.
_KERNELS = {
    "ipykernel": ("python3", {
        "argv": ["-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3 (ipykernel)", "language": "python",
        "metadata": {"debugger": True}, "kernel_protocol_version": "5.5",
    }),
    "bash_kernel": ("bash", {
        "argv": ["-m", "bash_kernel", "-f", "{connection_file}"],
        "display_name": "Bash", "language": "bash", "env": {"PS1": "$"}, "codemirror_mode": "shell",
    }),
}  # fmt: skip


def conda_name(name: str) -> str:
    """The conda name of a distribution on PyPI, e.g. `jupyter_server` for `Jupyter-Server`."""
    normal = canonicalize_name(name)
    return CONDA_NAMES.get(normal, normal)


@dataclass
class Wheel:
    """A wheel's file and the parts of its metadata that a conda package needs."""

    path: Path
    metadata: Message
    pure: bool
    suite: Suite
    console: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Conda name."""
        return conda_name(str(self.metadata["Name"]))

    @property
    def version(self) -> str:
        """Version as published."""
        return str(self.metadata["Version"])

    @property
    def site(self) -> str:
        """The folder of its modules in a package."""
        return "site-packages" if self.pure else self.suite.site

    def requirements(self, extras: frozenset[str] = frozenset()) -> Iterator[Requirement]:
        """Yield the requirements that hold on the account's machine, with those of the wanted extras."""
        versions = {"implementation_version": self.suite.full, "python_full_version": self.suite.full}
        environment = _ENVIRONMENT | versions | {"python_version": self.suite.python}
        for line in self.metadata.get_all("Requires-Dist") or []:
            requirement = Requirement(str(line))
            marker = requirement.marker
            if marker is None:
                wanted = not extras or extras == frozenset()
            else:
                plain = marker.evaluate(environment | {"extra": ""})
                wanted = (
                    plain
                    if not extras
                    else any(marker.evaluate(environment | {"extra": extra}) and not plain for extra in extras)
                )
            if wanted:
                yield requirement


def read(path: Path, suite: Suite) -> Wheel:
    """Read a wheel's metadata.

    Args:
        path: The `.whl` file.
        suite: The release whose Python it is for.

    Returns:
        The wheel, with its console entry points.
    """
    with zipfile.ZipFile(path) as archive:
        info = _dist_info(archive)
        parser = email.parser.Parser()
        metadata = parser.parsestr(archive.read(f"{info}/METADATA").decode())
        tags = parser.parsestr(archive.read(f"{info}/WHEEL").decode())
        console: dict[str, str] = {}
        if f"{info}/entry_points.txt" in archive.namelist():
            entries = configparser.ConfigParser(delimiters=("=",), interpolation=None)
            entries.optionxform = lambda optionstr: optionstr  # type: ignore[method-assign]
            entries.read_string(archive.read(f"{info}/entry_points.txt").decode())
            for section in ("console_scripts", "gui_scripts"):
                if entries.has_section(section):
                    console |= {key: value.partition("[")[0].strip() for key, value in entries.items(section)}
    pure = str(tags["Root-Is-Purelib"]).lower() == "true" and path.name.endswith("-none-any.whl")
    return Wheel(path, metadata, pure, suite, console)


def _dist_info(archive: zipfile.ZipFile) -> str:
    for name in archive.namelist():
        folder, slash, rest = name.partition("/")
        if slash and folder.endswith(".dist-info") and rest == "METADATA":
            return folder
    message = f"{archive.filename} has no .dist-info/METADATA; it is not a wheel."
    raise ValueError(message)


def _specifier(specifiers: SpecifierSet) -> str:
    parts = []
    for spec in sorted(specifiers, key=str):
        operator, version = spec.operator, spec.version
        if operator == "===":
            operator = "=="
        parts.append(f"{operator}{version}")
    return ",".join(parts)


def _depends(wheel: Wheel, known: Mapping[str, Wheel]) -> list[str]:
    """The package's dependencies as conda writes them; extras of a dependency are resolved into its own."""
    specs: dict[str, set[str]] = {}

    def add(requirement: Requirement) -> None:
        name = conda_name(requirement.name)
        text = _specifier(requirement.specifier)
        entry = specs.setdefault(name, set())
        if text:
            entry.add(text)
        if requirement.extras and name in known:
            for more in known[name].requirements(frozenset(requirement.extras)):
                add(more)

    for requirement in wheel.requirements():
        add(requirement)
    specs.pop(wheel.name, None)
    depends = [f"{name} {','.join(sorted(parts))}".strip() for name, parts in sorted(specs.items())]
    requires_python = wheel.metadata["Requires-Python"]
    if wheel.pure:
        spec = _specifier(Requirement(f"python{requires_python}").specifier) if requires_python else ">=3.8"
        return [f"python {spec}", *depends]
    suite = wheel.suite
    return [suite.needs_python, f"python_abi {suite.python}.* *_cp{suite.tag}", *depends]


_SHEBANG = re.compile(rb"^#!\s*(?:/usr/bin/env\s+)?python[0-9.]*w?\s*$")


def _script(path: str, data: bytes) -> File:
    first, newline, rest = data.partition(b"\n")
    if _SHEBANG.match(first):
        text = f"#!{PLACEHOLDER}/bin/python\n".encode()
        return File(path, text + rest, executable=True, placeholder="text")
    return File(path, first + newline + rest, executable=True)


def entry_script(target: str) -> bytes:
    """The start script of a console entry point, for packages that are linked as they are.

    Args:
        target: `module:attribute`, as in `entry_points.txt`.

    Returns:
        The script, its first line with the placeholder of the prefix.
    """
    module, _, attribute = target.partition(":")
    lines = [
        f"#!{PLACEHOLDER}/bin/python",
        "import re",
        "import sys",
        "",
        f"from {module} import {attribute.partition('.')[0]}",
        "",
        'if __name__ == "__main__":',
        '    sys.argv[0] = re.sub(r"(-script\\.pyw?|\\.exe)?$", "", sys.argv[0])',
        f"    sys.exit({attribute}())",
        "",
    ]
    return "\n".join(lines).encode()


def _place(name: str, info: str, wheel: Wheel) -> tuple[str, bool] | None:
    """Where a wheel's member goes in the package, and whether it is a script; nothing if it is left out."""
    data_folder = info.removesuffix(".dist-info") + ".data/"
    if name.startswith(data_folder):
        kind, _, rest = name.removeprefix(data_folder).partition("/")
        places: dict[str, tuple[str, bool]] = {
            "data": (rest, False),
            "scripts": (f"{_SCRIPTS[wheel.pure]}/{rest}", True),
            "purelib": (f"{wheel.site}/{rest}", False),
            "platlib": (f"{wheel.site}/{rest}", False),
            "headers": (f"include/python{wheel.suite.python}/{rest}", False),
        }
        return places[kind]
    if name in {f"{info}/RECORD.jws", f"{info}/RECORD.p7s"}:
        return None
    return f"{wheel.site}/{name}", False


def _files(wheel: Wheel) -> list[File]:
    files: dict[str, File] = {}
    with zipfile.ZipFile(wheel.path) as archive:
        info = _dist_info(archive)
        for member in archive.infolist():
            if member.is_dir():
                continue
            place = _place(member.filename, info, wheel)
            if place is None:
                continue
            path, is_script = place
            data = archive.read(member)
            executable = bool((member.external_attr >> 16) & 0o111)
            files[path] = _script(path, data) if is_script else File(path, data, executable)
        files[f"{wheel.site}/{info}/INSTALLER"] = File(f"{wheel.site}/{info}/INSTALLER", b"conda\n")
    if wheel.name in _KERNELS:
        folder, spec = _KERNELS[wheel.name]
        path = f"share/jupyter/kernels/{folder}/kernel.json"
        argv = spec["argv"]
        assert isinstance(argv, list)
        text = json.dumps(dict(spec) | {"argv": [f"{PLACEHOLDER}/bin/python", *argv]}, indent=1) + "\n"
        files[path] = File(path, text.encode(), placeholder="text")
    if not wheel.pure:
        for command, target in wheel.console.items():
            mode: Literal["text"] = "text"
            files[f"bin/{command}"] = File(f"bin/{command}", entry_script(target), executable=True, placeholder=mode)
    return list(files.values())


def convert(wheel: Wheel, known: Mapping[str, Wheel]) -> Package:
    """Make the conda package of a wheel.

    Args:
        wheel: The wheel.
        known: The channel's wheels by conda name; extras of dependencies are looked up here.

    Returns:
        The package, ready to be written.
    """
    digest = hashlib.sha256(wheel.path.name.encode()).hexdigest()[:7]
    return Package(
        name=wheel.name,
        version=wheel.version,
        build="pyhstandin_0" if wheel.pure else f"py{wheel.suite.tag}h{digest}_0",
        depends=_depends(wheel, known),
        files=_files(wheel),
        noarch=wheel.pure,
        license=str(wheel.metadata["License-Expression"] or wheel.metadata["License"] or "")[:60].splitlines()[0]
        if (wheel.metadata["License-Expression"] or wheel.metadata["License"])
        else "",
        summary=str(wheel.metadata["Summary"] or ""),
        entry_points=[f"{command} = {target}" for command, target in wheel.console.items()] if wheel.pure else [],
    )
