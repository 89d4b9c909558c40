"""The stand-in's own packages: conda itself, the certificates, and the markers that conda-forge's packages name."""

from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING

from .archive import PLACEHOLDER, File, Package

if TYPE_CHECKING:
    from pathlib import Path

    from .suites import Suite
    from .wheels import Wheel

#: The version that the front end names; see frontend/conda/__init__.py.
CONDA_VERSION = "26.7.1"

#: Source in frontend/shell -> places in the package.
_SHELL_FILES = {
    "conda.sh": "etc/profile.d/conda.sh",
    "conda.csh": "etc/profile.d/conda.csh",
    "conda.fish": "etc/fish/conf.d/conda.fish",
    "conda-command.csh": "shell/conda-command.csh",
    "activate": "bin/activate",
    "deactivate": "bin/deactivate",
}


def conda(frontend: Path, suite: Suite) -> Package:
    """The front end as the package `conda`.

    Args:
        frontend: The folder with `conda/` and `shell/`.
        suite: The release whose Python it runs on.

    Returns:
        The package.
    """
    modules = sorted((frontend / "conda").glob("*.py"))
    files = [File(f"{suite.site}/conda/{path.name}", path.read_bytes()) for path in modules]
    for source, place in _SHELL_FILES.items():
        text = (frontend / "shell" / source).read_text().replace("@PREFIX@", PLACEHOLDER)
        files.append(File(place, text.encode(), placeholder="text"))
    start = f"#!{PLACEHOLDER}/bin/python\nimport sys\n\nfrom conda.cli import run\n\nsys.exit(run())\n"
    files.extend(
        File(place, start.encode(), executable=True, placeholder="text") for place in ("bin/conda", "condabin/conda")
    )
    digest = hashlib.sha256(b"".join(item.path.encode() + item.data for item in files)).hexdigest()[:7]
    return Package(
        "conda", CONDA_VERSION, f"py{suite.tag}h{digest}_0",
        [suite.needs_python, "py-rattler", "ruamel.yaml", "pip", "setuptools", "wheel"], files,
        license="Apache-2.0", summary="The conda of the nbfleet stand-in distribution",
    )  # fmt: skip


def ca_certificates(certifi: Wheel) -> Package:
    """The certificates of certifi where conda's OpenSSL has them."""
    with zipfile.ZipFile(certifi.path) as archive:
        bundle = archive.read("certifi/cacert.pem")
    files = [File("ssl/cacert.pem", bundle), File("ssl/cert.pem", target="cacert.pem")]
    return Package("ca-certificates", certifi.version, "hstandin_0", [], files, license="MPL-2.0")


def python_abi(suite: Suite) -> Package:
    """The marker that keeps compiled packages with their Python."""
    name, version = f"2_cp{suite.tag}", suite.python
    return Package("python_abi", version, name, [], [], noarch=True, constrains=[f"python {version}.*"])
