"""The Debian releases whose Python the stand-in repacks, and what is different about each."""

from __future__ import annotations

from dataclasses import dataclass

#: conda package -> (Debian packages, pattern of the files to take, licence). Names as on conda-forge.
LIBRARIES = {
    "bzip2": ("libbz2-1.0", r"libbz2\.so\.1(\..*)?", "bzip2-1.0.6"),
    "libexpat": ("libexpat1", r"libexpat\.so\.1(\..*)?", "MIT"),
    "libffi": ("libffi8", r"libffi\.so\.8(\..*)?", "MIT"),
    "libgcc": ("libgcc-s1", r"libgcc_s\.so\.1", "GPL-3.0-only WITH GCC-exception-3.1"),
    "liblzma": ("liblzma5", r"liblzma\.so\.5(\..*)?", "0BSD"),
    "libsqlite": ("libsqlite3-0", r"libsqlite3\.so\.0(\..*)?", "blessing"),
    "libstdcxx": ("libstdc++6", r"libstdc\+\+\.so\.6(\..*)?", "GPL-3.0-only WITH GCC-exception-3.1"),
    "libuuid": ("libuuid1", r"libuuid\.so\.1(\..*)?", "BSD-3-Clause"),
    "libzlib": ("zlib1g", r"libz\.so\.1(\..*)?", "Zlib"),
    "ncurses": ("libtinfo6 libncursesw6", r"lib(ncursesw|panelw|tinfo)\.so\.6(\..*)?", "X11"),
    "openssl": ("libssl3", r"lib(ssl|crypto)\.so\.3", "Apache-2.0"),
    "readline": ("libreadline8", r"lib(readline|history)\.so\.8(\..*)?", "GPL-3.0-only"),
}


@dataclass(frozen=True)
class Suite:
    """One Debian release.

    Attributes:
        name: As in its archive.
        release: Its number.
        full: The version of its Python.
        glibc: The second part of its glibc's version, the lowest that what is built from it runs on.
        libraries: What its Python needs, as in `LIBRARIES`.
    """

    name: str
    release: int
    full: str
    glibc: int
    libraries: dict[str, tuple[str, str, str]]

    @property
    def python(self) -> str:
        """Python's version as folders name it, e.g. 3.11."""
        return self.full.rpartition(".")[0]

    @property
    def minor(self) -> int:
        """The second part of Python's version."""
        return int(self.python.partition(".")[2])

    @property
    def tag(self) -> str:
        """Python's version as builds and wheels name it, e.g. 311."""
        return self.python.replace(".", "")

    @property
    def library(self) -> str:
        """Python's folder in a prefix."""
        return f"lib/python{self.python}"

    @property
    def site(self) -> str:
        """The folder of Python's packages in a prefix."""
        return f"{self.library}/site-packages"

    @property
    def needs_python(self) -> str:
        """The requirement of a package that goes with this Python alone."""
        return f"python >={self.python},<3.{self.minor + 1}.0a0"


SUITES = {
    suite.name: suite
    for suite in (
        Suite("bookworm", 12, "3.11.2", 36, LIBRARIES),
        Suite(
            "bullseye", 11, "3.9.2", 31,
            LIBRARIES | {
                "libffi": ("libffi7", r"libffi\.so\.7(\..*)?", "MIT"),
                "mpdecimal": ("libmpdec3", r"libmpdec\.so\..*", "BSD-2-Clause"),
                "openssl": ("libssl1.1", r"lib(ssl|crypto)\.so\.1\.1", "OpenSSL"),
            },
        ),
    )
}  # fmt: skip
