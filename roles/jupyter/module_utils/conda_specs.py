# SPDX-License-Identifier: Apache-2.0
"""Versions and requests, compared as conda compares them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MISREAD = "write it as name, name=1.2, name==1.2.3 or name>=1.2,<2"


class Refusal(Exception):  # noqa: N818 - it is an answer, not an accident
    """One sentence for the user: what is wrong, and what to do next."""

    def __init__(self, sentence: str) -> None:
        super().__init__(masked(sentence))

    @property
    def sentence(self) -> str:
        """The sentence as it stands by itself, with a capital letter and a full stop."""
        said = str(self)
        return f"{said[:1].upper()}{said[1:]}."


def masked(text: str) -> str:
    """Return a text without the passwords of the addresses in it."""
    return re.sub(r"(://)[^/@\s]*@", r"\1***@", text)


def version_key(version: str) -> tuple[Any, ...]:
    """Return a key that sorts versions as conda does (1.0dev1 < 1.0rc1 < 1.0 < 1.0.post1 < 1!0.1)."""
    epoch, bang, rest = version.lower().strip().rpartition("!")
    main, _, local = rest.partition("+")
    return (int(epoch) if bang and epoch.isdigit() else 0, _parts(main), _parts(local))


def _parts(text: str) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    parts = []
    for part in re.split(r"[._-]", text) if text else []:
        atoms = [_atom(atom) for atom in re.findall(r"\d+|[a-z*]+", part)]
        # "rc1" stands for "0rc1", as in conda.
        parts.append(tuple([_atom("0"), *atoms] if atoms and atoms[0][0] != _NUMBER else atoms))
    while parts and parts[-1] in ((), (_atom("0"),)):
        parts.pop()
    # A version that ends counts on in zeros: 1.0.dev1 < 1.0 = 1 < 1.0.0.1.
    return (*((*part, _ABSENT) for part in parts), (_ABSENT,) * 4)


# Order within a part: dev < other words < end of the part (as zero) and numbers < post.
_DEV, _WORD, _NUMBER, _POST = range(4)
_ABSENT = (_NUMBER, 0, "")


def _atom(atom: str) -> tuple[int, int, str]:
    if atom.isdigit():
        return (_NUMBER, int(atom), "")
    return ({"dev": _DEV, "post": _POST}.get(atom, _WORD), 0, atom)


def version_matches(version: str, constraint: str) -> bool:
    """Say whether a version meets a constraint such as >=7,<8 or 1.2.* or 1.2|1.4."""
    return any(
        all(_meets(version, term.strip()) for term in alternative.split(",")) for alternative in constraint.split("|")
    )


def _meets(version: str, term: str) -> bool:
    operator, wanted = re.fullmatch(r"(==|!=|>=|<=|~=|=|>|<|)\s*(.*)", term).groups()  # type: ignore[union-attr]
    if operator in ("", "=", "!=") and wanted.endswith("*"):
        stem = wanted.rstrip("*").rstrip(".")
        return _starts_with(version, stem) is not (operator == "!=")
    if operator == "=":
        return _starts_with(version, wanted)
    if operator == "~=":
        return version_key(version) >= version_key(wanted) and _starts_with(version, wanted.rpartition(".")[0])
    here, there = version_key(version), version_key(wanted)
    answers = {"==": here == there, "": here == there, "!=": here != there}
    answers.update({">=": here >= there, "<=": here <= there, ">": here > there, "<": here < there})
    return answers[operator]


def _starts_with(version: str, stem: str) -> bool:
    return not stem or version == stem or re.match(re.escape(stem) + r"(?![0-9a-z])", version) is not None


class Spec(NamedTuple):
    """A request: a name, and what its version and build must be (empty: anything)."""

    name: str
    version: str = ""
    build: str = ""


_SPEC = re.compile(
    r"(?:[\w./:-]+::)?(?P<name>[a-zA-Z0-9_][\w.-]*)\s*"
    r"(?P<version>(?:[=<>!~]=?|\s)\s*[\w.*+!-]+(?:\s*[,|]\s*(?:[=<>!~]=?)?\s*[\w.*+!-]+)*)?"
    r"(?:[=\s](?P<build>[\w.*]+))?"
)


def parse_spec(text: str) -> Spec:
    """Read a request such as notebook>=7 or python=3.12.

    Raises:
        Refusal: The text is not understood.
    """
    match = _SPEC.fullmatch(text.strip())
    if not match:
        raise Refusal(f"the package spec '{text}' is not understood; {MISREAD}")
    return Spec(match["name"].lower(), (match["version"] or "").strip(), match["build"] or "")


class Record(NamedTuple):
    """An installed package, as the name of its file in conda-meta says it."""

    name: str
    version: str
    build: str

    @property
    def stem(self) -> str:
        """Return name-version-build, the name of the package's archive without its ending."""
        return f"{self.name}-{self.version}-{self.build}"


def parse_stem(stem: str) -> Record | None:
    """Take name-version-build apart; None when it is something else."""
    parts = stem.rsplit("-", 2)
    return Record(*parts) if len(parts) == 3 and all(parts) else None


def unmet(specs: Sequence[str], installed: Mapping[str, Record]) -> list[str]:
    """Return the specs that the installed packages do not meet, in their order, each once."""
    wanting = []
    for text in specs:
        spec = parse_spec(text)
        record = installed.get(spec.name)
        met = (
            record is not None
            and (not spec.version or version_matches(record.version, spec.version))
            and (not spec.build or re.fullmatch(spec.build.replace("*", ".*"), record.build) is not None)
        )
        if not met and text not in wanting:
            wanting.append(text)
    return wanting
