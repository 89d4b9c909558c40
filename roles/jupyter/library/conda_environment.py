#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Keep one conda environment as it was asked for; conda itself is called only when something is missing."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DOCUMENTATION = r"""
module: conda_environment
short_description: Keep one conda environment as it was asked for
description:
  - Decides by the records in C(conda-meta) alone, without a call of conda, what is missing.
  - When something is missing, calls conda once, one call at a time for each prefix, and looks again afterwards.
  - With a lock, the environment becomes exactly the lock, without a solve.
  - What another hand made is used as it is, and changed only with O(adopt) or when it is the base environment.
options:
  conda_prefix:
    description: Where conda lives.
    type: path
    required: true
  environment:
    description: Folder of the environment; the same as O(conda_prefix) means the base environment.
    type: path
    required: true
  specs:
    description: What has to be there, such as C(notebook>=7), C(python=3.12), C(ipython).
    type: list
    elements: str
    default: []
  channels:
    description: Channels to install from, the first one first; no other channel is used.
    type: list
    elements: str
    default: [conda-forge]
  lock:
    description: Text of an C(@EXPLICIT) file with hashes; empty for a solve.
    type: str
    default: ""
  adopt:
    description: Install also into an existing environment that another hand made.
    type: bool
    default: false
  kernel_for:
    description: Folder of the Jupyter environment in which the kernel of this environment is registered.
    type: path
  kernel_name:
    description: Name of the kernel; needed with O(kernel_for).
    type: str
  kernel_display_name:
    description: What Jupyter shows; default is the kernel's name.
    type: str
  variables_file:
    description: File for the variables that the environment's C(activate.d) scripts set, in systemd's form.
    type: path
  timeout:
    description: Seconds that one call of conda, or the wait for another one, may take.
    type: int
    default: 3600
  state:
    description: With V(absent), environments that this module made are removed, with the kernels registered in them.
    type: str
    choices: [present, absent]
    default: present
author: nbfleet
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Keep Jupyter installed
  conda_environment:
    conda_prefix: /home/robert/miniconda3
    environment: /home/robert/miniconda3/envs/jupyter
    specs: [jupyter, notebook>=7]
"""

RETURN = r"""
missing:
  description: The specs that were not met before.
  returned: state is present
  type: list
  elements: str
removed:
  description: The environments that went, or in check mode would go.
  returned: state is absent
  type: list
  elements: str
revision:
  description: Changes only when this module changed the environment; empty while unknown.
  returned: state is present
  type: str
"""

# Without an ending: conda takes every .json in that folder for a record.
MARKER = "nbfleet"
LOCK = ".nbfleet-conda.lock"
MISREAD = "write it as name, name=1.2, name==1.2.3 or name>=1.2,<2"


class Refusal(Exception):  # noqa: N818 - it is an answer, not an accident
    """One sentence for the user: what is wrong, and what to do next."""


# --- versions and specs -----------------------------------------------------------------------------------------


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


# --- what is there ----------------------------------------------------------------------------------------------


class Environment:
    """A folder that is, was or will be a conda environment; everything here only reads."""

    def __init__(self, path: Path, base: Path) -> None:
        self.path = path
        self.meta = path / "conda-meta"
        self.marker_file = self.meta / MARKER
        # Outside the folder, so that they outlive a half-made environment and conda never sees them.
        own = f"{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        self.begun_file = base / f".nbfleet-begun-{own}"
        self.lock_file = base / f".nbfleet-lock-{own}.txt"
        self.aside = path.parent / f".{path.name}.nbfleet-before"

    @property
    def exists(self) -> bool:
        """Say whether conda regards the folder as an environment."""
        return (self.meta / "history").is_file()

    @property
    def in_the_way(self) -> bool:
        """Say whether the folder holds anything at all."""
        return self.path.is_dir() and any(self.path.iterdir())

    @property
    def begun(self) -> str:
        """Return what an earlier run of ours began (create, install, explicit) and did not end; else empty."""
        with contextlib.suppress(OSError):
            return self.begun_file.read_text(encoding="utf-8").strip() or "install"
        return ""

    @property
    def half_made(self) -> bool:
        """Say whether the folder is what is left of a creation of ours that was killed."""
        return self.begun in ("create", "explicit") and not self.marker

    @property
    def marker(self) -> dict[str, Any]:
        """Return what we noted when we last changed the environment; empty when we never did."""
        try:
            found = json.loads(self.marker_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def records(self) -> dict[str, Record]:
        """Return the installed packages by name; pip's leave no record here, damaged records do not count."""
        found = {}
        for file in sorted(self.meta.glob("*.json")):
            record = parse_stem(file.stem)
            if record and not _truncated(file):
                found[record.name] = record
        return found

    def damaged(self) -> list[Path]:
        """Return the records that a full disk or a killed conda cut short."""
        return [file for file in sorted(self.meta.glob("*.json")) if parse_stem(file.stem) and _truncated(file)]

    def archives(self) -> dict[str, set[str]]:
        """Return the hashes (md5 and sha256) of each installed package by its stem."""
        found = {}
        for record in self.records().values():
            entry = json.loads((self.meta / f"{record.stem}.json").read_text(encoding="utf-8"))
            found[record.stem] = {entry[key] for key in ("md5", "sha256") if entry.get(key)}
        return found

    @property
    def frozen(self) -> str | None:
        """Return the reason why the environment must not be changed; None when it may be."""
        try:
            text = (self.meta / "frozen").read_text(encoding="utf-8")
        except OSError:
            return None
        try:
            return str(json.loads(text).get("message") or "") if text.strip() else ""
        except (ValueError, AttributeError):
            return ""


def _truncated(file: Path) -> bool:
    with file.open("rb") as record:
        record.seek(0, os.SEEK_END)
        record.seek(max(0, record.tell() - 16))
        return not record.read().rstrip().endswith(b"}")


# --- locks ------------------------------------------------------------------------------------------------------


def conda_platform(system: str, machine: str) -> str:
    """Return conda's word for a platform, such as linux-64."""
    words = {"x86_64": "64", "arm64": "aarch64"}
    return f"{system.lower()}-{words.get(machine, machine)}"


def parse_lock(text: str, here: str) -> dict[str, str]:
    """Return the hash of each package of an explicit list by its stem.

    Args:
        text: An @EXPLICIT file.
        here: The platform it has to fit, such as linux-64.

    Raises:
        Refusal: The list is none, has no hashes, or is for another platform.
    """
    lines = [line.strip() for line in text.splitlines()]
    if "@EXPLICIT" not in lines:
        raise Refusal("the lock has no line @EXPLICIT; make it with `conda list --explicit --sha256`")
    packages: dict[str, str] = {}
    for line in lines:
        if line.startswith("# platform:") and line.partition(":")[2].strip() != here:
            raise Refusal(
                f"the lock is for {line.partition(':')[2].strip()} and this machine is {here}; give one made there"
            )
        if not line or line.startswith(("#", "@")):
            continue
        url, _, digest = line.partition("#")
        subdir, _, archive = url.rpartition("/")
        subdir = subdir.rpartition("/")[2]
        stem = re.sub(r"(\.conda|\.tar\.bz2)$", "", archive)
        if subdir not in (here, "noarch"):
            raise Refusal(f"the lock names {archive} for {subdir} and this machine is {here}; give one made there")
        if not parse_stem(stem) or stem == archive:
            raise Refusal(f"the lock names '{line}', which is no conda package")
        digest = digest.rpartition(":")[2]
        if not re.fullmatch(r"[0-9a-f]{32}|[0-9a-f]{64}", digest):
            raise Refusal(f"the lock gives no hash for {archive}; make it with `conda list --explicit --sha256`")
        packages[stem] = digest
    if not packages:
        raise Refusal("the lock lists no package; make it with `conda list --explicit --sha256`")
    return packages


def lock_difference(wanted: Mapping[str, str], installed: Mapping[str, set[str]]) -> tuple[list[str], list[str]]:
    """Return the stems to add and the stems to take away to make the environment the lock."""
    add = []
    for stem, digest in wanted.items():
        known = {other for other in installed.get(stem, ()) if len(other) == len(digest)}
        if stem not in installed or (known and digest not in known):
            add.append(stem)
    return sorted(add), sorted(set(installed) - set(wanted))


# --- the decision -----------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """What has to be done, and how it looks in a diff."""

    how: str  # "" (nothing), "create", "install" or "explicit"
    wanting: list[str]
    before: str = ""
    after: str = ""


def decide(environment: Environment, base: Path, specs: Sequence[str], lock: str, *, adopt: bool, here: str) -> Plan:
    """Compare what is there with what was asked for; nothing is changed.

    Raises:
        Refusal: It must not or cannot be done.
    """
    is_base = environment.path == base
    ours = bool(environment.begun or environment.marker)
    if is_base and lock:
        raise Refusal(
            "a lock cannot be applied to the base environment, which holds conda itself; use an environment of its own"
        )
    if environment.in_the_way and not environment.exists and not ours:
        raise Refusal(f"{environment.path} is there and is no conda environment; move it away or choose another folder")
    installed = environment.records()
    made_by_us = bool(environment.marker.get("made"))
    if lock:
        plan = _plan_lock(environment, specs, lock, here)
    elif environment.half_made or not environment.exists:
        plan = Plan("create", list(specs), "", "".join(f"{text}\n" for text in specs))
    else:
        plan = _plan_specs(environment, specs, installed)
    if not plan.how:
        return plan
    if environment.half_made:
        return plan
    if environment.exists and not ours and not is_base and not adopt:
        raise Refusal(
            f"{environment.path} was not made by nbfleet and lacks {', '.join(plan.wanting[:5])}; "
            "choose another folder for the environment, or allow nbfleet to install into this one"
        )
    reason = environment.frozen if environment.exists else None
    if reason is not None:
        raise Refusal(
            f"{environment.path} is frozen{f' ({reason})' if reason else ''}; "
            "let nbfleet use an environment of its own, which is the default"
        )
    damaged = environment.damaged()
    if damaged and not made_by_us:
        raise Refusal(
            f"{environment.path} is damaged ({damaged[0].name} was cut short); "
            "delete that file and reinstall the package"
        )
    return plan


def _plan_specs(environment: Environment, specs: Sequence[str], installed: Mapping[str, Record]) -> Plan:
    wanting = unmet(specs, installed)
    cut_short = [record.name for file in environment.damaged() if (record := parse_stem(file.stem))]
    wanting += [name for name in cut_short if name not in wanting]
    if environment.begun and not wanting:
        wanting = list(specs)
    names = [parse_spec(text).name for text in wanting]
    before = "".join(f"{name}={installed[name].version}\n" for name in names if name in installed)
    return Plan("install" if wanting else "", wanting, before, "".join(f"{text}\n" for text in wanting))


def _plan_lock(environment: Environment, specs: Sequence[str], lock: str, here: str) -> Plan:
    wanted = parse_lock(lock, here)
    records = {record.name: record for stem in wanted if (record := parse_stem(stem))}
    left_out = unmet(specs, records)
    if left_out:
        raise Refusal(f"the lock does not hold {', '.join(left_out)}; make a new lock or do not ask for it")
    fresh = environment.half_made or not environment.exists
    add, take = lock_difference(wanted, {} if fresh else environment.archives())
    if not add and not take and not environment.begun and not environment.damaged():
        return Plan("", [])
    return Plan(
        "explicit", add or sorted(wanted), "".join(f"{stem}\n" for stem in take), "".join(f"{stem}\n" for stem in add)
    )


# --- conda ------------------------------------------------------------------------------------------------------


def conda_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for conda: the caller's, without what another conda or Python left in it."""
    clean = {
        key: value for key, value in environ.items() if not key.startswith(("CONDA_", "_CE_", "PYTHON", "LD_", "PIP_"))
    }
    clean.update(
        CONDA_AUTO_UPDATE_CONDA="false", CONDA_NUMBER_CHANNEL_NOTICES="0", CONDA_REPORT_ERRORS="false", LC_ALL="C.UTF-8"
    )
    return clean


def read_answer(stdout: str) -> dict[str, Any]:
    """Return the JSON object in conda's output, whatever was printed before it; empty when there is none."""
    for start in (match.start() for match in re.finditer(r"^\{", stdout, re.MULTILINE)):
        with contextlib.suppress(ValueError):
            answer, _ = json.JSONDecoder().raw_decode(stdout[start:])
            return answer if isinstance(answer, dict) else {}
    return {}


def explain(answer: Mapping[str, Any], stderr: str, status: int, channels: Sequence[str]) -> str:
    """Turn conda's failure into one sentence with the next step."""
    errors = [answer, *answer.get("errors", [])]
    named = {str(error.get("exception_name", "")): error for error in errors}
    said = " ".join(str(error.get("message") or error.get("error") or "") for error in errors)
    asked = ", ".join(channels)
    if "No space left on device" in said + stderr or "NoSpaceLeftError" in named:
        return "the disk is full; free some space (`conda clean -ay` empties conda's own cache) and run again"
    if "Disk quota exceeded" in said + stderr:
        return "the disk quota is used up; free some space (`conda clean -ay` empties conda's own cache) and run again"
    for name, error in named.items():
        if name in ("PackagesNotFoundInChannelsError", "PackagesNotFoundError", "ResolvePackageNotFound"):
            packages = ", ".join(map(str, error.get("packages") or [])) or _first_line(said)
            return f"conda does not find {packages} in {asked}; correct the package list or the channels"
        if name.endswith("UnsatisfiableError"):
            why = _conflict(str(error.get("message", "")))
            return f"these packages cannot be installed together ({why}); loosen one of the versions"
        if name == "CondaHTTPError":
            return _explain_http(error)
        if name == "UnavailableInvalidChannel":
            place = error.get("channel_url") or error.get("channel_name") or asked
            return f"there is no conda channel at {place}; correct the channels"
        if name == "ChecksumMismatchError":
            url = error.get("url", "from a channel")
            return f"the package {url} is not what its hash says; run again, or correct the lock or the mirror"
        if name in ("EnvironmentNotWritableError", "NotWritableError", "NoWritablePkgsDirError"):
            return f"conda may not write there ({_first_line(said)}); give the folder back to its user"
        if name == "CorruptedEnvironmentError":
            file = error.get("corrupted_file", "a record")
            return f"the environment is damaged ({file}); delete that file and reinstall the package"
        if name == "CondaVerificationError":
            return "a package in conda's cache is damaged; run `conda clean -py` on the account and then again"
        if name.startswith("CondaToS"):
            return f"the terms of a channel ({asked}) are not accepted; use conda-forge or accept them"
    if status < 0 or status in (137, 143):
        number = -status if status < 0 else status - 128
        return f"conda was killed (signal {number}), perhaps for want of memory; run again"
    line = _first_line(said) or _last_line(stderr) or "no word from it"
    return f"conda ended with status {status} ({line}); run again, or try its command on the account"


def _explain_http(error: Mapping[str, Any]) -> str:
    url, status = error.get("url") or "a channel", str(error.get("status_code") or "000")
    if status in ("000", "None"):
        return f"conda cannot reach {url}; check from the account that the channel answers, or set a proxy or a mirror"
    if status in ("401", "403", "407"):
        return f"the channel {url} refuses access (HTTP {status}); check the credentials of the channel or the proxy"
    if status == "404":
        return f"the channel has no {url} (HTTP 404); correct the channels or the lock"
    return f"the channel {url} answered HTTP {status}; run again later"


def _conflict(message: str) -> str:
    lines = [re.sub(r"^[\s│├└─]+", "", line).strip() for line in message.splitlines()]
    names = [line for line in lines if re.match(r"[\w.-]+ \S+", line) and "following" not in line]
    return "; ".join(names[:2])[:240] or _first_line(message)


def _first_line(text: str) -> str:
    return next((line.strip()[:240] for line in text.splitlines() if line.strip()), "")


def _last_line(text: str) -> str:
    return _first_line("\n".join(reversed(text.splitlines())))


@contextlib.contextmanager
def one_at_a_time(prefix: Path, *, seconds: float) -> Iterator[int]:
    """Hold the lock under which conda may work in this prefix; gives the lock's file descriptor.

    Raises:
        Refusal: Somebody else held it all the time.
    """
    deadline = time.monotonic() + seconds
    with (prefix / LOCK).open("a", encoding="utf-8") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise Refusal(
                        f"another run has used the conda in {prefix} for {seconds:.0f} s; wait for it or end it"
                    ) from None
                time.sleep(0.2)
        yield lock.fileno()


def run_conda(argv: Sequence[str], *, lock: int, seconds: float) -> tuple[int, str, str]:
    """Run conda to its end and return status, output and messages.

    The lock is inherited: should this process die, the next run still waits for conda's end.

    Raises:
        Refusal: It took longer than allowed, and was ended.
    """
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=conda_environ(os.environ),
        cwd="/",
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=(lock,),
    )
    try:
        stdout, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)  # conda rolls back
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        raise Refusal(
            f"conda did not finish within {seconds:.0f} s and was ended; allow more time or use a nearer mirror"
        ) from None
    return process.returncode, stdout, stderr


def conda_command(
    plan: Plan, base: Path, environment: Path, channels: Sequence[str], lock_file: Path | None
) -> list[str]:
    """Return the one command that carries the plan out."""
    verb = "install" if plan.how == "install" else "create"
    command = [str(base / "bin" / "conda"), verb, "-y", "--json", "-p", str(environment), "--override-channels"]
    for channel in channels:
        command += ["-c", channel]
    return [*command, "--file", str(lock_file)] if lock_file else [*command, *plan.wanting]


# --- carrying it out --------------------------------------------------------------------------------------------


def carry_out(environment: Environment, plan: Plan, params: Mapping[str, Any]) -> None:
    """Make the environment what the plan says, or leave it as it was and say why.

    Raises:
        Refusal: conda failed, or said that it did not.
    """
    base = Path(params["conda_prefix"])
    with one_at_a_time(base, seconds=params["timeout"]) as lock:
        # Another run may have done it while this one waited.
        here = conda_platform(platform.system(), platform.machine())
        plan = decide(environment, base, params["specs"], params["lock"], adopt=params["adopt"], here=here)
        if not plan.how:
            return
        made = plan.how != "install" or bool(environment.marker.get("made"))
        if environment.half_made and environment.path.exists():
            shutil.rmtree(environment.path)
        environment.path.parent.mkdir(parents=True, exist_ok=True)
        write(environment.begun_file, plan.how + "\n", 0o644)
        for file in environment.damaged():
            file.unlink()
        explicit = plan.how == "explicit"
        with (
            _lock_file(environment, params["lock"] if explicit else "") as lock_file,
            _old_aside(environment, needed=explicit),
        ):
            command = conda_command(plan, base, environment.path, params["channels"], lock_file)
            status, stdout, stderr = run_conda(command, lock=lock, seconds=params["timeout"])
            check_result(environment, plan, params, status, read_answer(stdout), stderr)
            note = {"version": 1, "made": made, "specs": list(params["specs"]), "revision": revision(environment)}
            write(environment.marker_file, json.dumps(note, indent=1) + "\n", 0o644)
        environment.begun_file.unlink()


def check_result(
    environment: Environment, plan: Plan, params: Mapping[str, Any], status: int, answer: Mapping[str, Any], stderr: str
) -> None:
    """Believe the records, not the exit status: conda has ended with 0 without having done anything.

    Raises:
        Refusal: The environment is not what the plan says.
    """
    if plan.how == "explicit":
        here = conda_platform(platform.system(), platform.machine())
        still, _ = lock_difference(
            parse_lock(params["lock"], here), environment.archives() if environment.exists else {}
        )
    else:
        still = unmet(plan.wanting, environment.records()) if environment.exists else plan.wanting
    failed = status != 0 and not answer.get("success")
    if not failed and not still:
        return
    if failed and answer and (plan.how == "install" or not environment.path.exists()):
        # conda has rolled back and said why: nothing is half-made.
        environment.begun_file.unlink()
    if failed or answer.get("error") or answer.get("exception_name"):
        raise Refusal(explain(answer, stderr, status, params["channels"]))
    raise Refusal(
        f"conda said that all went well, yet {', '.join(still[:5])} is not there ({_last_line(stderr)}); run again"
    )


@contextlib.contextmanager
def _lock_file(environment: Environment, text: str) -> Iterator[Path | None]:
    if not text:
        yield None
        return
    write(environment.lock_file, text if text.endswith("\n") else text + "\n", 0o600)
    try:
        yield environment.lock_file
    finally:
        environment.lock_file.unlink()


@contextlib.contextmanager
def _old_aside(environment: Environment, *, needed: bool) -> Iterator[None]:
    """Keep the environment that is to be replaced until the new one stands; put it back when it does not."""
    if not needed:
        yield
        return
    if environment.exists and not environment.aside.exists():
        environment.path.rename(environment.aside)
    shutil.rmtree(environment.path, ignore_errors=True)
    try:
        yield
    except Refusal:
        shutil.rmtree(environment.path, ignore_errors=True)
        if environment.aside.exists():
            environment.aside.rename(environment.path)
            environment.begun_file.unlink(missing_ok=True)
        raise
    shutil.rmtree(environment.aside, ignore_errors=True)


def revision(environment: Environment) -> str:
    """Return a short hash of all installed packages."""
    stems = "\n".join(sorted(record.stem for record in environment.records().values()))
    return hashlib.sha256(stems.encode()).hexdigest()[:12]


def write(file: Path, text: str, mode: int) -> None:
    """Write a file under a temporary name and rename it, so that nobody ever sees half of it."""
    temporary = file.with_name(f".{file.name}.nbfleet-new")
    temporary.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
    temporary.chmod(mode)
    temporary.replace(file)


# --- what activation sets ---------------------------------------------------------------------------------------


def activation_variables(environment: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the environment's activate.d scripts set beyond PATH and CONDA_PREFIX.

    Variables of several lines are left out: systemd's files and kernelspecs have no safe form for all of them.
    """
    scripts = sorted((environment / "etc" / "conda" / "activate.d").glob("*.sh"))
    before = {key: environ[key] for key in ("HOME", "USER", "LOGNAME", "LANG") if key in environ}
    before.update(CONDA_PREFIX=str(environment), PATH=f"{environment}/bin:/usr/local/bin:/usr/bin:/bin")
    found = {}
    state = environment / "conda-meta" / "state"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = {str(k): str(v) for k, v in json.loads(state.read_text(encoding="utf-8"))["env_vars"].items()}
    if scripts:
        shell = next((path for path in ("/bin/bash", "/usr/bin/bash") if Path(path).exists()), "/bin/sh")
        sourced = 'for script in "$@"; do . "$script"; done >/dev/null 2>&1 </dev/null; exec env -0'
        answer = subprocess.run(
            [shell, "-c", sourced, shell, *map(str, scripts)],
            env={**before, **found},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
        ).stdout.decode(errors="replace")
        after = dict(pair.partition("=")[::2] for pair in answer.split("\0") if "=" in pair)
        found = {key: value for key, value in after.items() if before.get(key) != value}
    private = {"_", "SHLVL", "PWD", "OLDPWD"}
    return {k: v for k, v in sorted(found.items()) if k not in private and "\n" not in v and re.fullmatch(r"\w+", k)}


def systemd_variables(variables: Mapping[str, str]) -> str:
    """Return variables in the form of systemd's EnvironmentFile."""
    quoted = {key: re.sub(r'(["\\`$])', r"\\\1", value) for key, value in variables.items()}
    return "".join(f'{key}="{value}"\n' for key, value in quoted.items())


def planned_variables(environment: Environment, file: str | None) -> tuple[str, str]:
    """Return what the variables file holds and what it should hold (the same when it is none of our business)."""
    before = ""
    if file:
        with contextlib.suppress(OSError):
            before = Path(file).read_text(encoding="utf-8")
    if not file or not environment.exists or not environment.marker:
        return before, before
    return before, systemd_variables(activation_variables(environment.path, os.environ))


# --- kernels ----------------------------------------------------------------------------------------------------


def kernelspec(environment: Path, display_name: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the kernel.json by which another environment's Jupyter starts this environment's kernel.

    Raises:
        Refusal: There is no kernel in the environment.
    """
    specs = sorted((environment / "share" / "jupyter" / "kernels").glob("*/kernel.json"))
    # Kernels of other languages bring ipykernel's along.
    specs.sort(key=lambda spec: spec.parent.name == "python3")
    if not specs:
        raise Refusal(f"{environment} holds no kernel; add ipykernel (or the kernel of its language) to its packages")
    found = json.loads(specs[0].read_text(encoding="utf-8"))
    argv = [str(word) for word in found["argv"]]
    program = environment / "bin" / Path(argv[0]).name
    if not argv[0].startswith("/") or program.exists():
        argv[0] = str(program)
    env = {**variables, **found.get("env", {})}
    env.update(CONDA_PREFIX=str(environment), PATH=f"{environment}/bin:${{PATH}}", PYTHONNOUSERSITE="1")
    metadata = {**found.get("metadata", {}), "nbfleet": {"environment": str(environment)}}
    return {**found, "argv": argv, "display_name": display_name, "env": env, "metadata": metadata}


def planned_kernel(environment: Environment, params: Mapping[str, Any]) -> tuple[Path | None, str, str]:
    """Return the kernel.json's place, what it holds and what it should hold.

    Raises:
        Refusal: Another hand registered a kernel of that name.
    """
    if not params["kernel_for"]:
        return None, "", ""
    name = params["kernel_name"] or ""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise Refusal(f"the kernel name '{name}' is none; use letters, digits, dots, dashes and underscores")
    file = Path(params["kernel_for"]) / "share" / "jupyter" / "kernels" / name.lower() / "kernel.json"
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if before and '"nbfleet"' not in before:
        raise Refusal(f"{file} was not made by nbfleet; give the kernel another name")
    if not environment.exists:
        return file, before, before or "{}\n"
    variables = activation_variables(environment.path, os.environ)
    variables.pop("PATH", None)
    wanted = kernelspec(environment.path, params["kernel_display_name"] or name, variables)
    return file, before, json.dumps(wanted, indent=1, ensure_ascii=False) + "\n"


def kernels_of(jupyter: Path) -> dict[Path, Path]:
    """Return the folder of each kernelspec that we registered, with the environment it starts."""
    found = {}
    for file in sorted((jupyter / "share" / "jupyter" / "kernels").glob("*/kernel.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found[file.parent] = Path(
                json.loads(file.read_text(encoding="utf-8"))["metadata"]["nbfleet"]["environment"]
            )
    return found


# --- the module -------------------------------------------------------------------------------------------------


def ensure_present(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Bring the environment, its variables file and its kernelspec to what was asked for."""
    base, environment = (
        Path(params["conda_prefix"]),
        Environment(Path(params["environment"]), Path(params["conda_prefix"])),
    )
    here = conda_platform(platform.system(), platform.machine())
    plan = decide(environment, base, params["specs"], params["lock"], adopt=params["adopt"], here=here)
    diffs = []
    if plan.how:
        header = f"{environment.path} (packages)"
        diffs.append({"before_header": header, "after_header": header, "before": plan.before, "after": plan.after})
        if not check_mode:
            if not (base / "bin" / "conda").exists():
                raise Refusal(f"there is no conda in {base}; install it first")
            carry_out(environment, plan, params)
    before, after = planned_variables(environment, params["variables_file"])
    if before != after:
        # Variables may hold secrets of the site: their names are enough for a diff.
        header = f"{params['variables_file']} (names only)"
        diffs.append(
            {"before_header": header, "after_header": header, "before": _names(before), "after": _names(after)}
        )
        if not check_mode:
            write(Path(params["variables_file"]), after, 0o600)
    file, before, after = planned_kernel(environment, params)
    if file and before != after:
        diffs.append({"before_header": str(file), "after_header": str(file), "before": before, "after": after})
        if not check_mode:
            write(file, after, 0o644)
    known = "" if check_mode and plan.how else environment.marker.get("revision", "")
    if known and params["variables_file"]:
        _, variables = planned_variables(environment, params["variables_file"])
        known = hashlib.sha256((known + variables).encode()).hexdigest()[:12] if variables else known
    return {"changed": bool(diffs), "missing": plan.wanting, "revision": known, "diff": diffs}


def _names(text: str) -> str:
    return "".join(f"{line.partition('=')[0]}\n" for line in text.splitlines())


def ensure_absent(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Remove what we made: kernelspecs, their environments, the environment itself."""
    base = Path(params["conda_prefix"])
    jupyter = Environment(Path(params["environment"]), base)
    gone: list[Path] = []
    targets = kernels_of(jupyter.path)
    for folder, target in targets.items():
        gone += [folder, *_removable(Environment(target, base), base)]
    gone += _removable(jupyter, base)
    if params["variables_file"]:
        gone.append(Path(params["variables_file"]))
    gone = [path for path in dict.fromkeys([*gone, base / LOCK]) if path.exists()]
    if gone and not check_mode:
        with one_at_a_time(base, seconds=params["timeout"]) if base.is_dir() else contextlib.nullcontext():
            for path in gone:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
    diff = {"before": "".join(f"{path}\n" for path in gone), "after": ""}
    removed = [str(path) for path in gone if path in (jupyter.path, *targets.values())]
    return {"changed": bool(gone), "removed": removed, "diff": [diff] if gone else []}


def _removable(environment: Environment, base: Path) -> list[Path]:
    beside = [environment.begun_file, environment.lock_file, environment.aside]
    if (environment.marker.get("made") or environment.half_made) and environment.path != base:
        return [environment.path, *beside]
    return [environment.marker_file, *beside]


def main() -> None:
    """Read the arguments, act, and answer."""
    module = AnsibleModule(
        argument_spec={
            "conda_prefix": {"type": "path", "required": True},
            "environment": {"type": "path", "required": True},
            "specs": {"type": "list", "elements": "str", "default": []},
            "channels": {"type": "list", "elements": "str", "default": ["conda-forge"]},
            "lock": {"type": "str", "default": ""},
            "adopt": {"type": "bool", "default": False},
            "kernel_for": {"type": "path"},
            "kernel_name": {"type": "str"},
            "kernel_display_name": {"type": "str"},
            "variables_file": {"type": "path"},
            "timeout": {"type": "int", "default": 3600},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_by={"kernel_for": ["kernel_name"]},
        supports_check_mode=True,
    )
    act: Callable[..., dict[str, Any]] = ensure_absent if module.params["state"] == "absent" else ensure_present
    try:
        module.exit_json(**act(module.params, check_mode=module.check_mode))
    except Refusal as refusal:
        module.fail_json(msg=f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.")
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or module.params['environment']}: {error.strerror or error}; "
            "free some space, or give the folder back to its user."
        )


if __name__ == "__main__":
    main()
