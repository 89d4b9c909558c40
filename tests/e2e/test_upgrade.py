"""Another lock beside what runs: tried, switched, taken back, on real accounts with things of their own."""

from __future__ import annotations

import base64
import re
import shlex
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from accounts import JupyterLock

from tests.machines import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.machines import Lab, Run

NODES = ["robert-node12", "robert-node13"]
NODE = NODES[0]
HOME = "/home/robert"
NAME = f"{HOME}/miniconda3/envs/jupyter"
TRIAL = ROOT / "roles" / "jupyter_service" / "files" / "trial.py"

# A kernel of the account's own server that computes for a long time.
BUSY = """
import json, pathlib, sys, uuid
sys.path[:0] = ["/tmp/nbfleet-test", "{home}/.config/nbfleet"]
import trial
one = trial.Trial(pathlib.Path("/run/user/{uid}/nbfleet"), "{base_url}", 60)
one.token = pathlib.Path("{home}/.config/nbfleet/token").read_text()
kernel = one.ask("POST", "api/kernels", "{{}}")["id"]
channel = one.channel(kernel)
asked = uuid.uuid4().hex
header = dict(msg_id=asked, session=asked, username="", msg_type="execute_request", version="5.3")
content = dict(code="import time; time.sleep(900)", silent=False, store_history=False, user_expressions={{}})
message = dict(header=header, parent_header={{}}, metadata={{}}, content=content, channel="shell")
trial.send(channel, trial.TEXT, json.dumps(message).encode())
for answer in one.messages(channel):
    if answer["msg_type"] == "status" and answer["content"]["execution_state"] == "busy":
        if answer["parent_header"].get("msg_id") == asked:
            break
print("computing")
"""


class Accounts:
    """The two accounts, and the lock that is theirs."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.lock = JupyterLock(lab)

    def run(self, verb: str, *words: str, nodes: tuple[str, ...] = (NODE,)) -> Run:
        return self.lab.nbfleet(verb, "-i", str(self.lab.inventory), *nodes, "--json", *words)

    def site(self, *words: str) -> str:
        done = self.lab.playbook("site", "--limit", NODE, *words)
        assert done.code == 0, done.out[-4000:]
        return done.out

    def ask(self, script: str, node: str = NODE) -> str:
        """Run a script on an account and return what it says."""
        done = self.lab.root(node.partition("-")[2], f"su robert -c {shlex.quote('cd; ' + script)}")
        assert done.code == 0, done.out + done.err
        return done.out.strip()

    def counts(self, node: str = NODE) -> str:
        return self.ask("readlink -f miniconda3/envs/jupyter", node)

    def generations(self, node: str = NODE) -> list[str]:
        return self.ask("ls miniconda3/envs", node).split()

    def pid(self, node: str = NODE) -> str:
        show = "XDG_RUNTIME_DIR=/run/user/`id -u` systemctl --user show -P MainPID nbfleet-jupyter.service"
        return self.ask(show, node)

    def program(self) -> str:
        return self.ask(f"readlink /proc/{self.pid()}/exe")

    def compute(self) -> None:
        """Have a kernel of the running server be busy."""
        config = self.ask("cat .config/nbfleet/server_config.py")
        (base_url,) = re.findall(r'base_url = "(.*)"', config)
        script = BUSY.format(home=HOME, uid=self.ask("id -u"), base_url=base_url)
        self.put("/tmp/nbfleet-test/trial.py", TRIAL.read_bytes())  # noqa: S108 - on the account
        self.put("/tmp/nbfleet-test/busy.py", script.encode())  # noqa: S108
        assert self.ask(f"{NAME}/bin/python -B /tmp/nbfleet-test/busy.py") == "computing"

    def put(self, file: str, data: bytes) -> None:
        text = base64.b64encode(data).decode()
        self.ask(f"mkdir -p {file.rpartition('/')[0]}; echo {text} | base64 -d >{file}")


@pytest.fixture(scope="module")
def accounts(provisioned: Lab) -> Iterator[Accounts]:
    made = Accounts(provisioned)
    yield made
    made.lock.restore()
    back = made.run("upgrade", "--when", "now", nodes=tuple(NODES))
    assert back.code == 0, back.out


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A package that pip can install without a network."""
    info = "mine-1.0.dist-info"
    files = {
        "mine.py": "def main():\n    print(6 * 7)\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nmine = mine:main\n",
    }
    place: Path = tmp_path_factory.mktemp("wheel") / "mine-1.0-py3-none-any.whl"
    with zipfile.ZipFile(place, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]))
    return place.read_bytes()


def told(run: Run, node: str = NODE) -> dict[str, Any]:
    (account,) = (one for one in run.answer["data"]["accounts"] if one["name"] == node)
    found: dict[str, Any] = account
    return found


def test_a_new_lock_takes_its_place_with_what_the_person_added(accounts: Accounts, wheel: bytes) -> None:
    accounts.put("/tmp/nbfleet-test/mine-1.0-py3-none-any.whl", wheel)  # noqa: S108
    accounts.ask(
        "miniconda3/bin/conda install -y -q -n jupyter wheel >/dev/null && "
        f"{NAME}/bin/python -m pip install -q --no-index /tmp/nbfleet-test/mine-1.0-py3-none-any.whl && "
        "`readlink -f miniconda3/envs/jupyter`/bin/python -m ipykernel install --sys-prefix --name own >/dev/null"
    )
    before = {node: accounts.counts(node) for node in NODES}
    accounts.lock.without("jupyter_console")
    foretold = accounts.run("upgrade", "--check", nodes=tuple(NODES))
    assert foretold.code == 0, foretold.out
    assert {node: accounts.counts(node) for node in NODES} == before
    done = accounts.run("upgrade", nodes=tuple(NODES))
    assert done.code == 0, done.out
    for node in NODES:
        assert told(done, node)["switched"]
        assert told(done, node)["environment"] == told(foretold, node)["environment"] == accounts.counts(node)
        assert accounts.counts(node) != before[node]
        assert not accounts.ask("ls miniconda3/envs/jupyter/conda-meta | grep ^jupyter_console || :", node)
    assert [text.partition(" ")[0] for text in told(done)["carried"]] == ["wheel", "mine"]
    new = accounts.counts()
    assert accounts.ask(f"{NAME}/bin/mine") == "42"
    # pip wrote the path that it was called by: the very folder's, or the name's, which leads to what counts.
    assert accounts.ask(f"head -n 1 {NAME}/bin/mine") in (f"#!{new}/bin/python", f"#!{NAME}/bin/python")
    assert new in accounts.ask(f"cat {NAME}/share/jupyter/kernels/own/kernel.json")
    assert accounts.program().startswith(f"{new}/bin/python")
    assert "__pycache__" not in accounts.ask("ls .config/nbfleet")
    # What a person gets by name is what counts.
    activated = accounts.ask(
        ". miniconda3/etc/profile.d/conda.sh; conda activate jupyter; which jupyter; conda list wheel"
    )
    assert activated.startswith(f"{NAME}/bin/jupyter")
    assert "wheel " in activated


def test_nothing_is_left_of_the_trial_and_the_next_run_finds_no_work(accounts: Accounts) -> None:
    left = accounts.ask("ls -A /run/user/`id -u`; ps -u robert -o args= | grep -v jupyter-notebook")
    assert "nbfleet-trial" not in left
    assert "trial" not in left
    out = accounts.site()
    assert "changed=0" in out
    assert "Install conda" not in out
    assert "changed=0" in accounts.site("-e", "survey_trust=false")
    again = accounts.run("upgrade")
    assert (again.code, told(again)["changed"], told(again)["switched"]) == (0, 0, False)


def test_going_back_lasts_until_another_lock(accounts: Accounts) -> None:
    new, names = accounts.counts(), accounts.generations()
    back = accounts.run("rollback")
    assert back.code == 0, back.out
    assert told(back)["switched"]
    assert accounts.counts() != new
    assert accounts.program().startswith(f"{accounts.counts()}/bin/python")
    assert len(accounts.generations()) == len(names)
    assert "Install conda" not in accounts.site()
    assert "changed=0" in accounts.site("-e", "survey_trust=false")
    assert accounts.ask("ls miniconda3/envs/jupyter/conda-meta | grep -c ^jupyter_console") == "1"


@pytest.mark.parametrize(
    ("missing", "words"), [("tornado", "it ends with status 1"), ("comm", "its kernel ends by itself")]
)
def test_a_lock_that_does_not_work_changes_nothing_anywhere(accounts: Accounts, missing: str, words: str) -> None:
    accounts.lock.without(missing)
    before = {node: (accounts.counts(node), accounts.pid(node), accounts.generations(node)) for node in NODES}
    refused = accounts.run("upgrade", nodes=tuple(NODES))
    assert refused.code == 5, refused.out
    message = refused.answer["error"]["message"]
    assert message.startswith(f"{NODE} ")
    assert f"does not work: {words} (ModuleNotFoundError: No module named '{missing}')" in message.replace('"', "'")
    assert {node: (accounts.counts(node), accounts.pid(node), accounts.generations(node)) for node in NODES} == before
    # The first account was the only one that was touched at all, and the other one is told so.
    first, other = refused.answer["data"]["accounts"]
    assert (first["name"], first["state"]) == (NODE, "failed")
    assert (other["name"], other["state"], other["reason"]) == (NODES[1], "stopped", "left_alone")
    assert "(1 of 2 left as they were.)" in message


def test_a_busy_kernel_is_waited_for_and_then_left_alone(accounts: Accounts) -> None:
    accounts.lock.without("jupyter_console", "webcolors")
    accounts.compute()
    before, pid = accounts.counts(), accounts.pid()
    refused = accounts.run("upgrade", "-e", "jupyter_service_idle_wait=3")
    assert refused.code == 5, refused.out
    assert "is busy, so nothing was switched" in refused.answer["error"]["message"]
    assert (accounts.counts(), accounts.pid()) == (before, pid)


def test_at_restart_the_server_goes_on_and_the_next_start_is_the_new_one(accounts: Accounts) -> None:
    before, pid = accounts.counts(), accounts.pid()
    done = accounts.run("upgrade", "--when", "at-restart")
    if before == NAME:
        # A folder at the name, as releases before links made it.
        assert done.code == 5, done.out
        assert "restart it with the upgrade" in done.answer["error"]["message"]
        pytest.skip("the account has an environment of an earlier release")
    assert done.code == 0, done.out
    new = accounts.counts()
    assert new != before
    assert accounts.pid() == pid
    assert "changed=0" in accounts.site()
    assert "changed=0" in accounts.site("-e", "survey_trust=false")
    assert accounts.pid() == pid
    assert accounts.program().startswith(f"{before}/bin/python")
    restarted = accounts.lab.nbfleet("restart", NODE, "--json")
    assert restarted.code == 0, restarted.out
    assert accounts.program().startswith(f"{new}/bin/python")
