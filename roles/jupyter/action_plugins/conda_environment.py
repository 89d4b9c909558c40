# SPDX-License-Identifier: Apache-2.0
"""The controller's side of the module of that name: one solve for all accounts that are asked for the same.

Arguments besides the module's own:

- ``lock_file``: where the lock of all accounts with this platform, these specs and channels is kept here, or will be;
  empty for none. It is not used for conda's base environment, and for one that another hand made.
- ``linker``: the pip requirement, with its hash, of the wheel that installs from a lock; empty: conda does it.
- ``source``: ``account``, or ``controller``: a lock's packages are downloaded here, once, and sent to who lacks them.
- ``bundle``: folder here from which all comes without a network; empty: none.
- ``update``: with ``state: solved``, what may move in a new lock: names of packages, or ``*`` for all.

Besides the module's own answer: ``locked``, a word for the lock that counts for the account; ``lock_written``, the file
that was written here; with ``state: solved`` also ``lock_file``, ``added``, ``removed`` and ``moved``; ``sent``, how
many packages and bytes the account was sent. With ``state: bundled`` nothing is asked of it: the bundle is made.

Accounts are handled by as many processes at once as there are forks. The first one that finds no lock holds a flock
while it solves; whoever holds it has a process already, so that nobody waits for an account without one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import os
import re
import shlex
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import ansible.module_utils
from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Result = dict[str, Any]
Turn = Literal["there", "first", "alone"]

# How the environment stands: absent (or left half-made by us), ours, or made by another hand; before it a word if the
# linker is not there.
STANDS = (
    "ls -d {linker} >/dev/null 2>&1 || echo unlinked;"
    " if test -e {env}/conda-meta/history; then"
    " if grep -qs '\"made\": true' {env}/conda-meta/nbfleet || ls {begun}* >/dev/null 2>&1; then echo ours;"
    " else echo other; fi; else echo absent; fi"
)


class Failed(Exception):  # noqa: N818 - it carries an answer
    """The module's own answer that it failed."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.get("msg"))
        self.result = result


def shared(name: str) -> Any:  # noqa: ANN401 - a module
    """Import one of this role's files that Ansible knows on accounts only."""
    folder = str(Path(__file__).resolve().parents[1] / "module_utils")
    if folder not in ansible.module_utils.__path__:
        ansible.module_utils.__path__.append(folder)
    return importlib.import_module(f"ansible.module_utils.conda_{name}")


controller, lock_text, locks = (shared(name) for name in ("controller", "lock_text", "locks"))


def in_this_run(thing: object, ending: str) -> Path:
    """Return a file that the processes of this run share about a thing; it goes with the run."""
    name = hashlib.sha256(str(thing).encode()).hexdigest()[:16]
    return Path(constants.DEFAULT_LOCAL_TMP) / f"nbfleet-{name}.{ending}"


@contextlib.contextmanager
def turn(thing: object, *, there: Callable[[], bool], seconds: float) -> Iterator[Turn]:
    """Let one process make a thing, and the others wait until it is there or that one has given up.

    Yields:
        "there" when it is, "first" for the one that shall make it, "alone" for those whose first one gave up: each of
        them goes on by itself, since a queue would only make the last one wait the longest.

    Raises:
        AnsibleActionFail: It took too long.
    """
    deadline = time.monotonic() + seconds
    mine: Turn = "first"
    with in_this_run(thing, "turn").open("a") as handle:
        while not there():
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                mine = "alone"
            if time.monotonic() > deadline:
                raise AnsibleActionFail(
                    f"Another account of this run has been making {thing} for {seconds:.0f} s; "
                    "look at that account, or allow more time with jupyter_timeout."
                )
            time.sleep(0.1)  # flock knows no limit of its own
        if there():
            mine = "there"
        if mine != "first":
            fcntl.flock(handle, fcntl.LOCK_UN)
        yield mine


class ActionModule(ActionBase):  # type: ignore[misc]
    """Give the module its lock and its linker."""

    _requires_connection = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Result:
        """Run the module, after and before what is to be done on the controller."""
        super().run(tmp, task_vars)
        self._vars = task_vars or {}
        self._asked = dict(self._task.args)
        self._place = str(self._asked.pop("lock_file", "") or "")
        self._update = list(self._asked.pop("update", []))
        self._requirement = self._found_requirement(str(self._asked.pop("linker", "") or ""))
        text = self._requirement.read_text(encoding="utf-8") if self._requirement else ""
        self._linker_sha256, self._unlinked = controller.sha256_of(text), False
        self._bundle = str(self._asked.pop("bundle", "") or "")
        source = str(self._asked.pop("source", "") or "account")
        self._asked["network"] = "none" if self._bundle else "index" if source == "controller" else "all"
        self._store = Path(self._bundle).expanduser().absolute() if self._bundle else controller.cache()
        self._sent: Result = {}
        self._warnings: list[str] = []
        self._limit = float(self._asked.get("timeout") or 3600)
        acts = {"solved": self._renew, "bundled": self._make_bundle}
        try:
            result = acts.get(str(self._asked.get("state")), self._keep)()
        except Failed as failed:
            result = failed.result
        if self._warnings:
            result["warnings"] = [*result.get("warnings", []), *self._warnings]
        return result

    # Present and absent.

    def _keep(self) -> Result:
        written = ""
        lock = str(self._asked.get("lock") or "")
        counts = locks.word(lock)
        state, place = self._asked.get("state", "present"), Path(self._place)
        if state == "beside" and not lock:
            lock = controller.read(place) if self._place else ""
            if not lock:
                raise AnsibleActionFail(
                    f"There is no lock to upgrade {self._asked['environment']} to; make one with nbfleet lock."
                )
            counts = locks.word(lock)
        elif self._place and not lock and state == "present":
            stands = self._stands()
            if stands != "other":
                lock, written = self._automatic(place, absent=stands == "absent")
            counts = locks.word(lock or controller.read(place))
        result = self._linked({**self._asked, "lock": lock}) if lock else self._module(self._asked)
        result["locked"] = counts
        if written:
            result["lock_written"] = written
        if self._sent:
            result["sent"] = self._sent
        return result

    def _stands(self) -> str:
        environment, prefix = Path(self._asked["environment"]), str(self._asked["conda_prefix"])
        if environment == Path(prefix):
            return "other"
        begun = shlex.quote(f"{prefix}/.nbfleet-begun-{environment.name}-")
        linker = shlex.quote(f"{prefix}/.nbfleet/") + f"*-{self._linker_sha256[:12]}*"
        question = STANDS.format(env=shlex.quote(str(environment)), begun=begun, linker=linker)
        words = str(self._low_level_execute_command(question)["stdout"]).split()
        stands = words[-1] if words else ""
        self._unlinked = stands == "absent" and "unlinked" in words
        return stands

    def _automatic(self, place: Path, *, absent: bool) -> tuple[str, str]:
        """Return the lock, and its file's name if it had to be made; no lock where nothing has to be installed."""
        if lock := controller.read(place):
            return lock, ""
        if self._bundle and (absent or self._lacks()):
            raise AnsibleActionFail(
                f"{place} is not there: without a network nothing can be solved for. Make that lock where there is one "
                f"(nbfleet lock), and the bundle anew: nbfleet bundle --to {self._bundle}."
            )
        if self._task.check_mode or (not absent and not self._lacks()):
            return "", ""
        if reason := controller.unwritable(place.parent):
            self._warnings.append(f"No lock can be kept in {place.parent} ({reason}): each account solves for itself.")
            return "", ""
        with turn(place, there=place.exists, seconds=self._limit) as mine:
            if mine == "there":
                return controller.read(place), ""
            lock = self._solve_like(lock_text.most_alike(place, self._asked["specs"]))
            if mine == "alone" and (other := controller.read(place)):
                return other, ""
            controller.write(place, lock)
        return lock, str(place)

    def _lacks(self) -> bool:
        """Say whether a package that is asked for is missing."""
        before, self._task.check_mode = self._task.check_mode, True
        try:
            return bool(self._module(self._asked).get("missing"))
        finally:
            self._task.check_mode = before

    def _solve_like(self, keep: str) -> str:
        """Solve with the versions of a similar lock, and without them where they stand in the way."""
        if keep:
            with contextlib.suppress(Failed):
                return self._solve(keep, [])
        return self._solve("", [])

    # A new lock.

    def _renew(self) -> Result:
        if named := self._asked.get("lock"):
            raise AnsibleActionFail(f"jupyter_lock names {named}, which is yours to keep; leave that variable out.")
        if self._bundle:
            raise AnsibleActionFail("A lock is solved over the network; leave miniconda_bundle out.")
        if not self._place:
            raise AnsibleActionFail(
                "There is no folder for locks here; use an inventory file, or name a folder with jupyter_locks."
            )
        place, done = Path(self._place), in_this_run(self._place, "done")
        if reason := controller.unwritable(place.parent):
            raise AnsibleActionFail(f"No lock can be kept in {place.parent} ({reason}); set jupyter_locks.")
        with turn(done, there=done.exists, seconds=self._limit) as mine:
            if mine == "there":
                return {"changed": False, "lock_file": ""}
            result = self._new_lock(place)
            done.touch()
        return result

    def _new_lock(self, place: Path) -> Result:
        prefix = str(self._asked["conda_prefix"])
        if self._low_level_execute_command(f"test -x {shlex.quote(prefix)}/bin/conda")["rc"]:
            raise AnsibleActionFail(f"There is no conda in {prefix} to make a lock with; run nbfleet up first.")
        before = after = controller.read(place)
        strangers = sorted(set(self._update) - {"*"} - lock_text.versions(before).keys()) if before else []
        if strangers:
            raise AnsibleActionFail(f"{place} holds no {', '.join(strangers)}; name packages that it holds.")
        if not before:
            after = self._solve_like(lock_text.most_alike(place, self._asked["specs"]))
        elif self._update:
            after = self._solve("", []) if "*" in self._update else self._solve(before, self._update)
        if after != before and not self._task.check_mode:
            controller.write(place, after)
        diff = {
            "before_header": str(place),
            "before": lock_text.listed(before),
            "after_header": str(place),
            "after": lock_text.listed(after),
        }
        return {
            "changed": after != before,
            "lock_file": str(place),
            **lock_text.difference(before, after),
            "diff": [diff],
        }

    # The module.

    def _module(self, args: Mapping[str, Any]) -> Result:
        """Run the module once.

        Raises:
            Failed: It failed.
        """
        result: Result = self._execute_module(
            module_name="conda_environment", module_args=dict(args), task_vars=self._vars
        )
        if result.get("failed") or result.get("unreachable"):
            raise Failed(result)
        return result

    def _solve(self, keep: str, update: list[str]) -> str:
        names = ("conda_prefix", "environment", "specs", "channels", "timeout")
        asked = {name: self._asked[name] for name in names if name in self._asked}
        answer = self._module({**asked, "state": "solved", "keep": keep, "update": update})
        return str(lock_text.with_specs(answer["explicit"], self._asked["specs"]))

    def _linked(self, args: Result) -> Result:
        """Install from a lock; the linker and packages go to the account only when the account says it lacks them."""
        linker = {}
        if self._linker_sha256 and not self._task.check_mode:
            there = f"{args['conda_prefix']}/.nbfleet/linker-{self._linker_sha256[:12]}.whl"
            linker = {"linker": there, "linker_sha256": self._linker_sha256}
            # Who has no environment yet would only say that he lacks it.
            if self._unlinked and not self._pushed_linker(there):
                linker = {}
        result = self._module({**args, **linker})
        lacks, packages = result.get("linker_missing"), result.get("packages_missing")
        if lacks and linker and not self._pushed_linker(there):
            linker = {}
        sent = {"packages": self._push_packages(packages)} if packages else {}
        if lacks or sent:
            result = self._module({**args, **linker, **sent})
        if refused := result.get("linker_refused") if linker else "":
            self._warnings.append(f"{self._vars.get('inventory_hostname')}: {refused}")
        return result

    def _found_requirement(self, name: str) -> Path | None:
        with contextlib.suppress(AnsibleError):  # a platform for which there is no wheel
            return Path(self._find_needle("files", name)) if name else None
        return None

    def _pushed_linker(self, there: str) -> bool:
        """Have the wheel on the account; say so when it cannot be."""
        wheel = self._store / f"linker-{self._linker_sha256[:12]}.whl"
        if reason := self._have_wheel(wheel):
            self._warnings.append(f"The linker cannot be had here ({reason}): conda installs, which takes longer.")
            return False
        self._send(wheel, there)
        return True

    def _have_wheel(self, wheel: Path) -> str:
        """Have the wheel on the controller; return why it cannot be."""
        requirement, sha256 = self._requirement, self._linker_sha256
        if self._bundle and self._asked.get("state") != "bundled":
            return "" if controller.intact(wheel, sha256) else f"the bundle has no {wheel.name}"
        failed = in_this_run(wheel, "failed")

        def settled() -> bool:
            return controller.intact(wheel, sha256) or failed.exists()

        with turn(wheel, there=settled, seconds=self._limit) as mine:
            if mine == "first" and (reason := controller.fetch_wheel(requirement, wheel)):
                failed.write_text(reason, encoding="utf-8")
        return str(controller.read(failed)) if settled() else "the account that was fetching it was ended"

    def _send(self, file: Path, there: str) -> None:
        folder, name = shlex.quote(str(Path(there).parent)), shlex.quote(there)
        # Over standard input, so that whoever becomes the account's user needs no file of his own there.
        # Under a name of its own: accounts that share a prefix may be sent the same at the same time.
        new = f"{name}.new.$$"
        put = f"mkdir -p {folder} && cat >{new} && mv -f {new} {name} || {{ rm -f {new}; exit 1; }}"
        answer = self._low_level_execute_command(put, in_data=file.read_bytes())
        if answer["rc"]:
            why = " ".join(str(answer["stderr"]).split())[-200:] or f"status {answer['rc']}"
            if re.search("No space left|quota exceeded", why):
                raise AnsibleActionFail(f"The disk of {there} is full or over quota; free some space and run again.")
            raise AnsibleActionFail(f"{there} could not be sent ({why}); free some space there, and run again.")

    # Packages from the controller.

    def _push_packages(self, wanted: list[list[str]]) -> str:
        """Send packages as one file and return its place on the account."""
        word = locks.word(repr(sorted(wanted)))
        packed, failed = (in_this_run(f"{self._store} {word}", ending) for ending in ("tar", "failed"))
        with turn(packed, there=lambda: packed.exists() or failed.exists(), seconds=self._limit) as mine:
            if mine != "there":
                try:
                    self._pack(wanted, packed)
                except shared("specs").Refusal as refusal:
                    failed.write_text(refusal.sentence, encoding="utf-8")
        if reason := controller.read(failed):
            raise AnsibleActionFail(reason)
        there = f"{self._asked['conda_prefix']}/.nbfleet/packages-{word}.tar"
        self._send(packed, there)
        self._sent = {"packages": len(wanted), "bytes": packed.stat().st_size}
        return there

    def _pack(self, wanted: list[list[str]], target: Path) -> None:
        store, packages = shared("store"), [locks.Package(*one) for one in wanted]
        if not self._bundle:
            store.provide(self._store, packages, seconds=self._limit)
        elif lacking := store.lacking(self._store, packages):
            some = ", ".join(lacking[:3]) + (" and others" if lacking[3:] else "")
            raise shared("specs").Refusal(
                f"{self._bundle} lacks {some}; where there is a network, run nbfleet bundle --to {self._bundle}"
            )
        new = target.with_suffix(f".{os.getpid()}")
        shared("pack").pack({package.file: self._store / store.place_of(package) for package in packages}, new)
        new.replace(target)

    # The bundle.

    def _make_bundle(self) -> Result:
        """Have the lock, its packages and the linker in one folder; what is there and right stays as it is."""
        place = Path(self._place)
        lock = str(self._asked.get("lock") or "") or controller.read(place)
        if not lock:
            raise AnsibleActionFail(
                f"There is no lock {self._place or 'here'} yet; make it by nbfleet up or nbfleet lock on an account "
                "that has a network, and run again."
            )
        store, packages = shared("store"), locks.lock_packages(lock)
        if self._task.check_mode:
            kept = controller.read(self._store / "locks" / place.name)
            return {"changed": kept != lock or bool(store.lacking(self._store, packages))}
        done = in_this_run(f"{self._store} {locks.word(lock)}", "bundled")
        failed = done.with_suffix(".failed")
        with turn(done, there=lambda: done.exists() or failed.exists(), seconds=self._limit) as mine:
            if reason := controller.read(failed):
                raise AnsibleActionFail(reason)
            if mine == "there":
                return {"changed": False}
            try:
                store.provide(self._store, packages, besides=controller.cache(), seconds=self._limit)
            except shared("specs").Refusal as refusal:
                reason = refusal.sentence
                failed.write_text(reason, encoding="utf-8")
                raise AnsibleActionFail(reason) from None
            if self._linker_sha256:
                self._bundle_wheel()
            (self._store / "locks").mkdir(exist_ok=True)
            controller.write(self._store / "locks" / place.name, lock)
            changed = store.note_sums(self._store)
            done.touch()
        return {"changed": changed, "bundle": str(self._store), "lock": place.name, "packages": len(packages)}

    def _bundle_wheel(self) -> None:
        wheel = self._store / f"linker-{self._linker_sha256[:12]}.whl"
        fetched, sha256 = controller.cache() / wheel.name, self._linker_sha256
        if not controller.intact(wheel, sha256) and controller.intact(fetched, sha256):
            shutil.copyfile(fetched, wheel)
        if reason := self._have_wheel(wheel):
            self._warnings.append(f"The linker cannot be had ({reason}): with this bundle conda installs.")
