"""Python and the libraries it needs, as conda packages made from the packages of a Debian release.

That release whatever the building machine is: so the lowest glibc that the result runs on does not depend on where it
was built. Only apt-get and dpkg-deb are needed, no root.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .archive import File, Package

if TYPE_CHECKING:
    from .suites import Suite

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TOOLS = ["patchelf"]
#: Left out of the standard library: Debian's own arrangements, its test suite, and what needs libraries we leave out.
_SKIP = re.compile(
    r"^(EXTERNALLY-MANAGED|sitecustomize\.py|_distutils_system_mod\.py|test/.*|__pycache__/.*|.*/__pycache__/.*"
    r"|lib-dynload/(_dbm|nis|_ctypes_test|_test[^/]*|xxlimited[^/]*)\.cpython-.*)$"
)


@dataclass(frozen=True)
class Debs:
    """Unpacked Debian packages.

    Attributes:
        suite: The release that they are of.
        tree: Folder with one unpacked tree per Debian package.
        versions: Debian package -> upstream version.
    """

    suite: Suite
    tree: Path
    versions: dict[str, str]


def _run(*argv: str, cwd: Path | None = None) -> str:
    """Run a tool of the building machine; its error text becomes the exception's."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{argv[0]} failed: {(done.stderr or done.stdout).strip()[-600:]}"
        raise RuntimeError(message)
    return done.stdout


def _python_packages(suite: Suite) -> list[str]:
    version = suite.python
    return [f"libpython{version}-minimal", f"libpython{version}-stdlib", f"python{version}-minimal", f"python{version}"]


def _sources(suite: str) -> str:
    """The lines of a sources.list for a release, from the mirrors that this machine's own apt uses."""
    listing = _run("apt-get", "indextargets", "--format", "$(REPO_URI) $(CREATED_BY)")
    main = security = ""
    for line in listing.splitlines():
        uri, _, kind = line.partition(" ")
        if kind != "Packages":
            continue
        path = uri.rstrip("/").rpartition("/")[2]
        if path == "debian" and not main:
            main = uri
        elif path == "debian-security" and not security:
            security = uri
    if not main:
        message = "No Debian mirror in this machine's apt sources; the stand-in takes Python from Debian's packages."
        raise RuntimeError(message)
    option = f" [signed-by={_KEYRING}]" if _KEYRING.exists() else ""
    lines = [f"deb{option} {main} {suite} main"]
    if security:
        lines.append(f"deb{option} {security} {suite}-security main")
    return "\n".join(lines) + "\n"


def fetch(work: Path, suite: Suite) -> Debs:
    """Download and unpack the Debian packages.

    Args:
        work: An empty folder to work in; apt's state lives there too, the machine's own is not touched.
        suite: The release.

    Returns:
        The unpacked trees.

    Raises:
        RuntimeError: apt cannot reach its mirror, or a package is missing.
    """
    names = sorted({name for entry in suite.libraries.values() for name in entry[0].split()})
    names += _python_packages(suite) + _TOOLS
    state = work / "apt"
    for folder in ("lists/partial", "cache/archives/partial", "etc/preferences.d", "debs", "trees"):
        (state / folder).mkdir(parents=True)
    sources = state / "etc" / "sources.list"
    sources.write_text(_sources(suite.name))
    (state / "status").write_text("")
    options = [
        f"-oDir::State::lists={state}/lists",
        f"-oDir::State::status={state}/status",
        f"-oDir::Cache={state}/cache",
        f"-oDir::Etc::sourcelist={sources}",
        "-oDir::Etc::sourceparts=-",
        f"-oDir::Etc::preferencesparts={state}/etc/preferences.d",
        "-oDir::Etc::preferences=-",
        "-oAPT::Architecture=amd64",
        "-oAPT::Sandbox::User=",
        "-oAcquire::Languages=none",
        "-oAcquire::Retries=3",
        "-oAPT::Update::Post-Invoke-Success=",
        "-oAPT::Update::Post-Invoke=",
    ]
    _run("apt-get", *options, "-q", "update")
    _run("apt-get", *options, "-q", "download", *names, cwd=state / "debs")
    versions = {}
    for deb in sorted((state / "debs").glob("*.deb")):
        name, version = _run("dpkg-deb", "-f", str(deb), "Package", "Version").splitlines()
        name, version = name.removeprefix("Package: "), version.removeprefix("Version: ")
        versions[name] = re.sub(r"^\d+:|[-+~].*$|\.dfsg.*$", "", version)
        _run("dpkg-deb", "-x", str(deb), str(state / "trees" / name))
    missing = sorted(set(names) - set(versions))
    if missing:
        message = f"Debian {suite.release} has no package {', '.join(missing)}."
        raise RuntimeError(message)
    return Debs(suite, state / "trees", versions)


def _build(version: str) -> str:
    digits = re.sub(r"\D", "", version)
    return f"hdebian{digits[:4]}_0"


def libraries(debs: Debs) -> list[Package]:
    """The conda packages of the shared libraries."""
    packages = []
    for name, (sources, pattern, license_name) in debs.suite.libraries.items():
        wanted = re.compile(pattern)
        files = []
        for source in sources.split():
            for path in sorted((debs.tree / source).rglob("lib*.so*")):
                if not wanted.fullmatch(path.name):
                    continue
                if path.is_symlink():
                    files.append(File(f"lib/{path.name}", target=Path(path.readlink()).name))
                else:
                    files.append(File(f"lib/{path.name}", path.read_bytes(), executable=True))
        version = debs.versions[sources.split()[0]]
        summary = f"{name} of Debian {debs.suite.release}"
        packages.append(Package(name, version, _build(version), [], files, license=license_name, summary=summary))
    return packages


def _replace(text: str, old: str, new: str, where: str) -> str:
    if old not in text:
        message = f"Debian's {where} has changed: the line {old.strip()!r} is not in it any more."
        raise RuntimeError(message)
    return text.replace(old, new)


def _undo_debian(path: str, text: str, suite: Suite) -> str:
    """Give a module of Debian's standard library back the folder names that Python itself uses."""
    if path == "site.py":
        before = "        if os.sep == '/':\n"
        start = text.index(before) + len(before)
        end = text.index("        else:\n            sitepackages.append(prefix)", start)
        plain = (
            '            sitepackages.append(os.path.join(prefix, "lib",\n'
            '                                             "python%d.%d" % sys.version_info[:2], "site-packages"))\n'
        )
        return text[:start] + plain + text[end:]
    if path == "sysconfig.py":
        if suite.minor < 10:
            # Not changed; but pip would ask distutils instead, which Debian has in a package of its own.
            return f"{text}\n_PIP_USE_SYSCONFIG = True\n"
        for scheme in ("deb_system", "posix_local"):
            text = _replace(text, f"prefix_scheme = '{scheme}'", "prefix_scheme = 'posix_prefix'", path)
        return text
    if path == "ssl.py":
        # Debian's OpenSSL looks into /usr/lib/ssl only; this one brings its own certificates in PREFIX/ssl.
        old = (
            "                self._load_windows_store_certs(storename, purpose)\n"
            "        self.set_default_verify_paths()\n"
        )
        new = old + (
            '        own = os.path.join(sys.prefix, "ssl", "cacert.pem")\n'
            '        if not os.environ.get("SSL_CERT_FILE") and os.path.exists(own):\n'
            "            self.load_verify_locations(cafile=own)\n"
        )
        return _replace(text, old, new, path)
    return text


def python(debs: Debs, work: Path) -> Package:
    """The conda package of Python: Debian's interpreter, made to find everything relative to itself.

    Args:
        debs: The unpacked packages.
        work: A folder to put the tree together in.

    Returns:
        The package; its depends name the library packages.
    """
    suite, tree = debs.suite, work / "python"
    library = tree / suite.library
    name = f"python{suite.python}"
    (tree / "bin").mkdir(parents=True)
    for source in _python_packages(suite):
        root = debs.tree / source / "usr" / suite.library
        for path in sorted(root.rglob("*")) if root.is_dir() else []:
            relative = path.relative_to(root).as_posix()
            if path.is_dir() or _SKIP.match(relative):
                continue
            place = library / relative
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                place.symlink_to(path.readlink())
            elif relative in {"site.py", "sysconfig.py", "ssl.py"}:
                place.write_text(_undo_debian(relative, path.read_text(), suite))
            else:
                shutil.copyfile(path, place)
    site = tree / suite.site
    site.mkdir()
    (site / "README.txt").write_text("Third-party packages of this environment live here.\n")
    program = tree / "bin" / name
    shutil.copyfile(debs.tree / f"{name}-minimal" / "usr" / "bin" / name, program)
    program.chmod(0o755)
    if suite.minor >= 11:
        _unfreeze(program)
    # DT_RPATH, not RUNPATH: it must also hold for the libraries of modules that are loaded later.
    tool = debs.tree / "patchelf" / "usr" / "bin" / "patchelf"
    _run(str(tool), "--force-rpath", "--set-rpath", "$ORIGIN/../lib", str(program))
    _compile(debs, tree, program)
    files = [File("bin/python", target=name), File("bin/python3", target=name)]
    for path in sorted(tree.rglob("*")):
        relative = path.relative_to(tree).as_posix()
        if path.is_symlink():
            files.append(File(relative, target=str(path.readlink())))
        elif path.is_file():
            executable = relative.startswith("bin/") or ".so" in path.suffixes
            files.append(File(relative, path.read_bytes(), executable))
    version = debs.versions[name]
    depends = [f"{one} {debs.versions[entry[0].split()[0]]}.*" for one, entry in sorted(suite.libraries.items())]
    return Package(
        "python", version, "hdebian_0", [*depends, "ca-certificates"], files,
        license="Python-2.0", summary=f"Python of Debian {suite.release}, relocatable",
        constrains=[f"python_abi {suite.python}.* *_cp{suite.tag}"],
    )  # fmt: skip


def _unfreeze(program: Path) -> None:
    """Give the `site` module inside the interpreter the usual folder name.

    Since 3.11, Python carries `site` compiled in, so changing `site.py` alone has no effect. The two constants are
    replaced by others of the same length; `local/lib` becomes another spelling of `lib`.
    """
    data = program.read_bytes()
    for old, new in ((b"\0dist-packages\0", b"\0site-packages\0"), (b"\0local/lib\0", b"\0./././lib\0")):
        if data.count(old) != 1:
            message = f"Debian's Python has changed: {old!r} is in it {data.count(old)} times instead of once."
            raise RuntimeError(message)
        data = data.replace(old, new)
    program.write_bytes(data)


def _compile(debs: Debs, tree: Path, program: Path) -> None:
    """Compile the standard library with the interpreter itself; its pyc files go into the package, as conda's do."""
    libraries_for_now = tree.parent / "libraries"
    libraries_for_now.mkdir()
    for sources, pattern, _ in debs.suite.libraries.values():
        for source in sources.split():
            for path in (debs.tree / source).rglob("lib*.so*"):
                if re.fullmatch(pattern, path.name):
                    shutil.copyfile(path, libraries_for_now / path.name)
    done = subprocess.run(
        [
            str(program), "-I", "-S", "-m", "compileall", "-q", "-j", "0",
            "--invalidation-mode", "unchecked-hash", "-s", str(tree), str(tree / "lib"),
        ],
        env={"LD_LIBRARY_PATH": str(libraries_for_now), "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    # lib2to3's and others' deliberately broken test files are not shipped, so nothing may fail here.
    if done.returncode:
        message = f"The repacked Python cannot compile its own library: {(done.stdout + done.stderr)[-600:]}"
        raise RuntimeError(message)
