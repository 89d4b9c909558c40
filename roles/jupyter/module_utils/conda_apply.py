# SPDX-License-Identifier: Apache-2.0
"""Carrying a plan out: by the linker where packages and hashes are known, else by conda."""

from __future__ import annotations

import json
import platform
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .conda_cache import HandOver, drop, holds, is_unpacked, note_urls, untrusted
from .conda_compiled import compile_all
from .conda_link import Linking, glibc_version, unpack, why_not
from .conda_locks import Package, conda_platform, lock_difference, lock_packages, parse_lock
from .conda_pack import unpack as unpack_packages
from .conda_plan import Plan, decide
from .conda_records import Environment, archive_hashes, revision, stem_of, write
from .conda_run import conda_command, explain, last_line, read_answer, run_conda
from .conda_specs import Refusal, unmet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Outcome(NamedTuple):
    """Who did the work, and why it was not the linker."""

    linked_by: str = ""
    linker_refused: str = ""


def decide_by(environment: Environment, params: Mapping[str, Any]) -> Plan:
    """Decide what the module's parameters ask for on this machine."""
    return decide(
        environment,
        Path(params["conda_prefix"]),
        params["specs"],
        params["lock"],
        adopt=params["adopt"],
        here=conda_platform(platform.system(), platform.machine()),
        glibc=glibc_version(),
        verify=params["verify"],
    )


def carry_out(environment: Environment, plan: Plan, params: Mapping[str, Any], lock: int) -> Outcome:
    """Make the environment what was asked for, or say why it is not.

    Raises:
        Refusal: conda or the linker failed, or said that it did not.
    """
    base = Path(params["conda_prefix"])
    if params["packages"]:
        sent = to_send(environment, plan, params)
        unpack_packages(Path(params["packages"]), base / "pkgs", sent)
        note_urls(base / "pkgs", sent)
    if plan.how != "explicit" and plan.wanting and params["network"] == "none":
        raise Refusal(
            f"to have {', '.join(plan.wanting)} takes a solve, and that a network; give a lock, or leave "
            "them out where there is none"
        )
    return _Work(environment, plan, params, lock).do()


def to_link(plan: Plan, lock: str, before: Mapping[str, Mapping[str, Any]]) -> list[Package]:
    """Return the packages that have to be linked; those of altered files as the records from before know them."""
    listed = {package.stem: package for package in lock_packages(lock)} if lock else {}
    found = [listed[stem] for stem in plan.wanting] if plan.how == "explicit" else []
    for name in plan.altered:
        record = before[name]
        digest = str(record.get("sha256") or record.get("md5") or "")
        found.append(listed.get(stem_of(record)) or Package(stem_of(record), str(record.get("url") or ""), digest))
    return found


def to_send(environment: Environment, plan: Plan, params: Mapping[str, Any]) -> list[Package]:
    """Return the packages of a lock that the account's cache lacks, when it may not download them itself."""
    if plan.how != "explicit" or params["network"] == "all":
        return []
    cache = Path(params["conda_prefix"]) / "pkgs"
    caches = [cache, *other_caches(params)]
    packages = to_link(plan, params["lock"], environment.details() if plan.altered else {})
    usable = [package for package in packages if package.name not in plan.altered]
    ready = [package for package in usable if any(is_unpacked(one, package) for one in caches)]
    return [package for package in packages if package not in ready and not holds(cache / package.file, package)]


def other_caches(params: Mapping[str, Any]) -> list[Path]:
    """Return the caches of others that packages may be taken from.

    Raises:
        Refusal: One of them could be changed by others than its owner.
    """
    caches = [Path(folder) for folder in params["caches"]]
    for cache in caches:
        if cache.exists() and (reason := untrusted(cache)):
            raise Refusal(f"{cache} is no cache to take packages from: {reason}; correct jupyter_package_caches")
    return [cache for cache in caches if cache.exists()]


class _Work:
    def __init__(self, environment: Environment, plan: Plan, params: Mapping[str, Any], lock: int) -> None:
        self._environment, self._plan, self._params, self._lock = environment, plan, params, lock
        self._base = Path(params["conda_prefix"])
        self._fresh = environment.half_made or not environment.exists
        self._before = {} if self._fresh else environment.details()
        self._after: dict[str, dict[str, Any]] = {}

    def do(self) -> Outcome:
        environment, plan = self._environment, self._plan
        made = self._fresh or bool(environment.marker.get("made"))
        ours = set(environment.marker.get("packages", []))
        place = {key: value for key, value in environment.marker.items() if key in ("name", "left", "aside")}
        outcome = self._by_linker() if plan.how == "explicit" else Outcome()
        if not outcome.linked_by:
            self._by_conda()
            outcome = outcome._replace(linked_by="conda")
        if self._params["shared"]:
            compile_all(environment.path, lock=self._lock, seconds=self._params["timeout"])
        after = self._after
        if plan.how == "explicit":
            ours |= {package.name for package in lock_packages(self._params["lock"])}
        else:
            ours |= after.keys() - self._before.keys()
        note = {
            **place,
            "version": 1,
            "made": made,
            "specs": list(self._params["specs"]),
            "packages": sorted(ours & after.keys()),
            "revision": revision(environment),
        }
        write(environment.marker_file, json.dumps(note, indent=1) + "\n", 0o644)
        environment.begun_file.unlink(missing_ok=True)
        return outcome

    def _begin(self) -> None:
        environment = self._environment
        if environment.half_made and environment.path.exists():
            shutil.rmtree(environment.path)
        environment.path.parent.mkdir(parents=True, exist_ok=True)
        # A creation that was killed is begun anew, a change is continued.
        write(environment.begun_file, ("create" if self._fresh else "install") + "\n", 0o644)
        for file in environment.damaged():
            file.unlink()

    def _packages(self) -> list[Package]:
        return to_link(self._plan, self._params["lock"], self._before)

    def _by_linker(self) -> Outcome:
        plan, params = self._plan, self._params
        reason = why_not(params["linker"], params["linker_sha256"], self._base)
        if reason:
            return Outcome(linker_refused=reason)
        packages = self._packages()
        reinstall = [package.name for package in packages if package.name in self._before]
        try:
            linking = Linking(
                self._base,
                unpack(params["linker"], params["linker_sha256"], self._base),
                lock=self._lock,
                seconds=params["timeout"],
                network=params["network"] == "all",
                caches=other_caches(params),
            )
            linking.provide(packages, plan.altered)
            self._begin()
            linking.link(self._environment.path, packages, reinstall=reinstall, gone=plan.gone, specs=params["specs"])
        except HandOver as reason_to_hand_over:
            return Outcome(linker_refused=str(reason_to_hand_over))
        self._check("the linker", {}, "")
        self._note_history(packages)
        return Outcome(linked_by="rattler")

    def _note_history(self, packages: Sequence[Package]) -> None:
        """Say in conda's history what came and went, and what was asked for: later solves keep to that."""
        leaving = [*(package.name for package in packages), *self._plan.gone]
        gone = [self._before[name] for name in leaving if name in self._before]
        lines = [f"==> {time.strftime('%Y-%m-%d %H:%M:%S')} <==", "# cmd: nbfleet"]
        lines += [f"-{_address(str(old.get('url') or ''))}" for old in gone]
        lines += [f"+{_address(package.url)}" for package in packages]
        lines += [f"# update specs: {list(self._params['specs'])!r}"]
        with (self._environment.meta / "history").open("a", encoding="utf-8") as history:
            history.write("\n".join(lines) + "\n")

    def _by_conda(self) -> None:
        plan, params = self._plan, self._params
        packages = self._packages()
        for package in packages:
            if package.name in plan.altered:
                drop(self._base / "pkgs", package.stem)
        self._begin()
        verb = "create" if self._fresh else "install"
        command = conda_command(verb, self._base, self._environment.path, params["channels"])
        if params["network"] != "all" and (plan.how == "explicit" or params["network"] == "none"):
            command.append("--offline")
        answer: dict[str, Any] = {}
        stderr = ""
        if packages:
            file = self._environment.lock_file
            lines = "".join(f"{package.url}#{package.digest}\n" for package in packages)
            write(file, f"@EXPLICIT\n{lines}", 0o600)
            try:
                answer, stderr = self._conda(
                    [*command, *([] if self._fresh else ["--force-reinstall"]), "--file", str(file)]
                )
            finally:
                file.unlink()
        if plan.gone:
            # Nothing that stays needs them, so there is nothing to solve.
            remove = [command[0], "remove", "-y", "--json", "--force", "-p", str(self._environment.path)]
            answer, stderr = self._conda([*remove, *plan.gone])
        if plan.how != "explicit" and plan.wanting:
            answer, stderr = self._conda([*command, *plan.wanting])
        self._check("conda", answer, stderr)

    def _conda(self, command: Sequence[str]) -> tuple[dict[str, Any], str]:
        status, stdout, stderr = run_conda(command, lock=self._lock, seconds=self._params["timeout"])
        answer = read_answer(stdout)
        if status != 0 and not answer.get("success"):
            if answer and (not self._fresh or not self._environment.path.exists()):
                # conda has rolled back and said why: nothing is half-made.
                self._environment.begun_file.unlink()
            raise Refusal(explain(answer, stderr, status, self._params["channels"], str(self._base)))
        return answer, stderr

    def _check(self, who: str, answer: Mapping[str, Any], stderr: str) -> None:
        """Believe the records and files, not the exit status: conda has ended with 0 without having done anything."""
        environment, plan, params = self._environment, self._plan, self._params
        self._after = environment.details() if environment.exists else {}
        if not environment.exists:
            still = list(plan.wanting)
        elif plan.how == "explicit":
            here = conda_platform(platform.system(), platform.machine())
            still = lock_difference(parse_lock(params["lock"], here), archive_hashes(self._after))
        else:
            still = unmet(plan.wanting, environment.records())
        still += [f"the removal of {name}" for name in plan.gone if name in self._after]
        if not still and plan.altered:
            still = [name for name in environment.altered() if name in plan.altered]
        if not still:
            return
        if answer.get("error") or answer.get("exception_name"):
            raise Refusal(explain(answer, stderr, 0, params["channels"], str(self._base)))
        said = f" ({last_line(stderr)})" if stderr.strip() else ""
        raise Refusal(f"{who} said that all went well, yet {', '.join(still[:5])} is not there{said}; run again")


def _address(url: str) -> str:
    """Return channel::name-version-build, as conda's history writes it."""
    channel, _, archive = url.rpartition("/")
    return f"{channel}::{archive.removesuffix('.conda').removesuffix('.tar.bz2')}"
