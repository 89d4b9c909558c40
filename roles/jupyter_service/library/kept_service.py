#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Have a keeper run an account's service from its present files, and prove that it works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.keeper import Keeper, Refusal, fingerprint
from ansible.module_utils.keeper_session import Session
from ansible.module_utils.keeper_system import SystemUnit
from ansible.module_utils.keeper_user import UserUnit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = r"""
module: kept_service
short_description: Have a keeper run an account's service from its present files, and prove that it works
description:
  - A keeper is what keeps the service alive when nobody is logged in; all of them are asked for the same.
  - A running service is restarted exactly when the files that it was started from are not the present ones;
    so a run that was cut off between writing and restarting is made good by the next one.
  - The keeper is noted on the account; where another one kept the service before, that one lets it go first.
options:
  keeper:
    description:
      - V(user) is a unit of the user's systemd with lingering.
      - V(system) is a unit of the machine's systemd; what root has to do is named in RV(done), for the next task.
      - V(session) is a supervisor in tmux, in screen or behind setsid.
    type: str
    choices: [user, system, session]
    required: true
  kept:
    description: File that notes which keeper it is.
    type: path
    required: true
  unit:
    description: The unit of V(user), V(system) or both.
    type: dict
    required: true
    suboptions:
      user: {description: Name of the user unit., type: str, required: true}
      system: {description: Name of the system unit., type: str, required: true}
      file: {description: File of the system unit., type: path, required: true}
      content: {description: Its whole content., type: str, default: ''}
  session:
    description: The command of V(session), and its log.
    type: dict
    required: true
    suboptions:
      command: {description: A POSIX sh script that is told C(start) or another order., type: path, required: true}
      log: {description: What the service writes., type: path, required: true}
  files:
    description: The files the service is started from.
    type: list
    elements: path
    default: []
  renewed:
    description: Whether this run has written one of O(files), or in check mode would.
    type: bool
    default: false
  started_from:
    description: File in which the service notes the hash of O(files) at its start.
    type: path
  proof:
    description: Command that ends with 0 when the service does its work.
    type: list
    elements: str
    default: []
  guard:
    description: Command that ends with 0 when a running service may be restarted; its last words say why not.
    type: list
    elements: str
    default: []
  stays:
    description: Whether a running service goes on as it is; it counts as started from the present O(files) then.
    type: bool
    default: false
  linger:
    description: Whether V(user) has to run without a login; with O(state=absent), whether this user gives lingering
      back himself.
    type: bool
    default: true
  linger_record:
    description: File that notes that lingering was switched on here, for O(state=absent).
    type: path
    required: true
  timeout:
    description: Seconds that a start may take.
    type: int
    default: 180
  state:
    description: V(restarted) restarts in any case; V(absent) has every keeper let go, and switches lingering off if it
      was switched on here.
    type: str
    choices: [started, restarted, absent]
    default: started
author: nbfleet
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Keep Jupyter running
  kept_service:
    keeper: user
    kept: /home/robert/.config/nbfleet/keeper
    unit: {user: nbfleet-jupyter.service, system: nbfleet-1000.service, file: /etc/systemd/system/nbfleet-1000.service}
    session: {command: /home/robert/.config/nbfleet/session, log: /home/robert/.config/nbfleet/jupyter.log}
    linger_record: /home/robert/.config/nbfleet/linger
"""

RETURN = r"""
done:
  description: What was, or in check mode would be, done; for V(system) what root has to do.
  returned: always
  type: list
  elements: str
journal:
  description: The last lines that the service wrote.
  returned: it did not start or did not prove to work
  type: list
  elements: str
"""

SECTIONS = {
    "unit": {
        "user": {"type": "str", "required": True},
        "system": {"type": "str", "required": True},
        "file": {"type": "path", "required": True},
        "content": {"type": "str", "default": ""},
    },
    "session": {
        "command": {"type": "path", "required": True},
        "log": {"type": "path", "required": True},
    },
}


def keepers(params: Mapping[str, Any]) -> dict[str, Callable[[], Keeper]]:
    """Return how each keeper is made; making one asks the account."""
    unit, session, seconds = params["unit"], params["session"], params["timeout"]
    record = Path(params["linger_record"])
    return {
        "user": lambda: UserUnit(unit["user"], linger=params["linger"], linger_record=record, seconds=seconds),
        "system": lambda: SystemUnit(unit["system"], Path(unit["file"]), unit["content"], seconds=seconds),
        "session": lambda: Session(Path(session["command"]), Path(session["log"]), seconds=seconds),
    }


def ensure(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Bring the service to the state that was asked for."""
    made = keepers(params)
    if params["state"] == "absent":
        return {"done": let_go([make() for make in made.values()], check_mode=check_mode)}
    keeper, note = made[params["keeper"]](), Path(params["kept"])
    if not check_mode:
        keeper.arrive()
    before = note.read_text(encoding="utf-8").strip() if note.is_file() else ""
    steps = []
    if before in made and before != keeper.kind:
        steps = let_go([made[before]()], check_mode=check_mode)
    if before != keeper.kind and not check_mode:
        note.write_text(f"{keeper.kind}\n", encoding="utf-8")
        note.chmod(0o600)
    stale = check_mode and params["renewed"]
    if params["started_from"] and keeper.running:
        noted = Path(params["started_from"])
        stale |= (noted.read_text(encoding="utf-8") if noted.is_file() else "") != fingerprint(params["files"])
    needed = keeper.needed(stale=stale, restart=params["state"] == "restarted")
    if params["stays"]:
        needed = ["leave running" if step == "restart" else step for step in needed]
    if not check_mode:
        if "restart" in needed and params["guard"]:
            keeper.ask(params["guard"])
        keeper.carry_out(needed)
        if "leave running" in needed:
            Path(params["started_from"]).write_text(fingerprint(params["files"]), encoding="utf-8")
        if params["proof"] and not (needed and isinstance(keeper, SystemUnit)):
            keeper.prove(params["proof"])
    return {"done": [*steps, *needed]}


def let_go(left: list[Keeper], *, check_mode: bool) -> list[str]:
    """Have keepers undo what they did; returns what that is."""
    done = []
    for keeper in left:
        steps = keeper.removable()
        if not check_mode:
            keeper.undo(steps)
        done += [f"{step} ({keeper.kind})" for step in steps]
    return done


def main() -> None:
    """Read the arguments, act, and answer."""
    module = AnsibleModule(
        argument_spec={
            "keeper": {"type": "str", "choices": ["user", "system", "session"], "required": True},
            "kept": {"type": "path", "required": True},
            **{name: {"type": "dict", "required": True, "options": options} for name, options in SECTIONS.items()},
            "files": {"type": "list", "elements": "path", "default": []},
            "renewed": {"type": "bool", "default": False},
            "started_from": {"type": "path"},
            "proof": {"type": "list", "elements": "str", "default": []},
            "guard": {"type": "list", "elements": "str", "default": []},
            "stays": {"type": "bool", "default": False},
            "linger": {"type": "bool", "default": True},
            "linger_record": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 180},
            "state": {"type": "str", "choices": ["started", "restarted", "absent"], "default": "started"},
        },
        supports_check_mode=True,
    )
    try:
        result = ensure(module.params, check_mode=module.check_mode)
    except Refusal as refusal:
        module.fail_json(msg=f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.", journal=refusal.journal)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror or error}; give the file back to its user.")
    header = f"{module.params['keeper']} keeper"
    lines = "".join(f"{step}\n" for step in result["done"])
    diff = [{"before_header": header, "after_header": header, "before": "", "after": lines}] if lines else []
    module.exit_json(**result, changed=bool(lines), diff=diff)


if __name__ == "__main__":
    main()
