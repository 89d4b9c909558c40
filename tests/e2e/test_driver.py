"""The driver on real machines: what it provisions, tells and leaves."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from accounts import up

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines import Lab, Run

NODE = "robert-node12"


def test_a_second_run_changes_nothing(provisioned: Lab) -> None:
    done = provisioned.nbfleet("up", "-i", str(provisioned.inventory), NODE, "--json")
    assert done.code == 0, done.err
    assert [account["changed"] for account in done.answer["data"]["accounts"]] == [0]


def test_plain_ansible_finds_nothing_to_do_and_ends_after_the_survey(provisioned: Lab) -> None:
    done = provisioned.playbook("site", "--limit", NODE)
    assert done.code == 0, done.out
    assert "changed=0" in done.out
    assert "Install conda" not in done.out


def test_a_dry_run_that_trusts_nothing_predicts_no_change(provisioned: Lab) -> None:
    done = provisioned.playbook("site", "--limit", NODE, "--check", "-e", "survey_trust=false")
    assert done.code == 0, done.out
    assert "survey_trust is false" in done.out
    assert "changed=0" in done.out


# What is done to each account at once; the reason that the next run gives, and the roles that mend it.
ENVIRONMENT = "miniconda3/envs/jupyter"
SIX = f"{ENVIRONMENT}/lib/python3*/site-packages/six.py"
UNIT = ".config/systemd/user/nbfleet-jupyter.service"
CONFIG = ".config/nbfleet/server_config.py"
ALTERED = {
    "files": {
        "robert-node12": ("sed -i s/conda.sh/gone.sh/ .bashrc", "~/.bashrc changed", "shell_profile"),
        "robert-node13": ("chmod 644 .config/nbfleet/token", "~/.config/nbfleet/token changed", "jupyter_service"),
        "zoe-node12": (
            "echo 'channels: [elsewhere]' >miniconda3/.condarc",
            "~/miniconda3/.condarc changed",
            "conda_config",
        ),
        "tim-node12": (f"echo '# mine' >>{UNIT}", "nbfleet-jupyter.service changed", "jupyter_service"),
        "finn-node12": (
            f"echo 'c.ServerApp.open_browser = True' >>{CONFIG}",
            "server_config.py changed",
            "jupyter_service",
        ),
    },
    "environment and service": {
        "robert-node12": (
            f"rm {ENVIRONMENT}/conda-meta/ipython-[0-9]*.json",
            f"~/{ENVIRONMENT} changed",
            "jupyter",
        ),
        "robert-node13": (
            "rm -r miniconda3/lib/python3*/site-packages/conda",
            "~/miniconda3 changed",
            "miniconda conda_config",
        ),
        "zoe-node12": (f"sed -i '$a # mine' {SIX}", f"~/{ENVIRONMENT} changed", "jupyter"),
        "tim-node12": ("loginctl disable-linger", "/var/lib/systemd/linger/tim changed", "jupyter_service"),
        "finn-node12": (
            "systemctl --user stop nbfleet-jupyter.service",
            "the service is inactive",
            "jupyter_service",
        ),
    },
}


@pytest.fixture(scope="module")
def fleet(provisioned: Lab) -> Lab:
    """The lab with accounts enough to alter a thing of each."""
    return up(provisioned, *ALTERED["files"])


def changing(run: Run) -> dict[str, set[str]]:
    """Return the roles of whose tasks a run of plain Ansible said that they changed something, for each account."""
    assert run.code == 0, run.out + run.err
    found: dict[str, set[str]] = {}
    role = ""
    for line in run.out.splitlines():
        if line.startswith("TASK ["):
            role = line.removeprefix("TASK [").partition(" : ")[0]
        elif line.startswith("changed: ["):
            found.setdefault(line.removeprefix("changed: [").partition("]")[0], set()).add(role)
    return found


@pytest.mark.parametrize("altered", ALTERED.values(), ids=ALTERED)
def test_what_was_altered_is_foretold_named_repaired_and_then_left_alone(
    fleet: Lab, altered: dict[str, tuple[str, str, str]]
) -> None:
    for account, (damage, _, _) in altered.items():
        done = fleet.on(account, damage)
        assert done.code == 0, done.out + done.err
    limit = ("site", "--limit", ",".join(altered))
    foretold, repaired, again = fleet.playbook(*limit, "--check"), fleet.playbook(*limit), fleet.playbook(*limit)
    mended = {account: set(roles.split()) for account, (_, _, roles) in altered.items()}
    assert (changing(foretold), changing(repaired)) == (mended, mended)
    for account, (_, reason, _) in altered.items():
        for run in (foretold, repaired):
            said = re.findall(rf"ok: \[{account}\] => *\n +changed: false\n +msg: (.*)", run.out)[0]
            assert reason in said
    assert changing(again) == {}


def test_a_lost_receipt_means_a_full_run_without_changes(provisioned: Lab) -> None:
    provisioned.on(NODE, "rm .local/state/nbfleet/receipt")
    done = provisioned.playbook("site", "--limit", NODE)
    assert "no receipt of an earlier run" in done.out
    assert "changed=0" in done.out


def test_status_tells_that_the_server_answers(provisioned: Lab) -> None:
    done = provisioned.nbfleet("status", NODE, "--json")
    assert done.code == 0, done.err
    (account,) = done.answer["data"]["accounts"]
    assert (account["state"], account["answers"]) == ("active", True)


def test_the_forward_answers_its_owner_alone(connect: Callable[[str], dict[str, Any]]) -> None:
    answer = connect(NODE)
    url, _, token = str(answer["url"]).partition("?token=")
    request = urllib.request.Request(f"{url.removesuffix('tree').removesuffix('lab')}api/status")  # noqa: S310
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)  # noqa: S310
    assert refused.value.code == 403
    request.add_header("Authorization", f"token {token}")
    with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310
        assert "started" in json.load(reply)


def test_the_tutorial_s_own_form_needs_no_inventory(provisioned: Lab) -> None:
    listed = json.loads(provisioned.run("ansible-inventory", "-i", str(provisioned.inventory), "--list").out)
    account = listed["_meta"]["hostvars"][NODE]
    bastion = account["bastion"]
    names = ["miniconda_base_url", "miniconda_version", "miniconda_sha256", "conda_config_channel_alias"]
    words = [word for name in names for word in ("-e", f"{name}={account[name]}")]
    way = ["-J", bastion, "-F", str(provisioned.ssh_config)]
    done = provisioned.nbfleet("up", f"robert@{account['ansible_host']}", *way, *words, "--json")
    assert done.code == 0, done.out + done.err
    (told,) = done.answer["data"]["accounts"]
    assert (told["state"], told["changed"]) == ("done", 0)


def test_an_unknown_account_is_one_sentence_and_a_code(provisioned: Lab) -> None:
    done = provisioned.nbfleet("connect", "nobody-here", "--json")
    assert done.code == done.answer["exit_code"] != 0
    assert "nobody-here" in done.answer["error"]["message"]
    assert "Traceback" not in done.err
