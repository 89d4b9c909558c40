"""The driver on real machines: what it provisions, tells and leaves."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines import Lab

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


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param("sed -i s/conda.sh/gone.sh/ .bashrc", "~/.bashrc changed", id="shell block"),
        pytest.param(
            "echo 'channels: [elsewhere]' > miniconda3/.condarc",
            "~/miniconda3/.condarc changed",
            id="condarc",
        ),
        pytest.param(
            "echo '# mine' >> .config/systemd/user/nbfleet-jupyter.service",
            "nbfleet-jupyter.service changed",
            id="unit",
        ),
        pytest.param(
            "echo 'c.ServerApp.open_browser = True' >> .config/nbfleet/server_config.py",
            "server_config.py changed",
            id="configuration",
        ),
        pytest.param("chmod 644 .config/nbfleet/token", "~/.config/nbfleet/token changed", id="token's mode"),
        pytest.param("loginctl disable-linger", "/var/lib/systemd/linger/robert changed", id="lingering"),
        pytest.param(
            "systemctl --user stop nbfleet-jupyter.service",
            "the service is inactive",
            id="service",
        ),
        pytest.param(
            "rm miniconda3/envs/jupyter/conda-meta/ipython-[0-9]*.json",
            "~/miniconda3/envs/jupyter changed",
            id="package",
        ),
        pytest.param(
            "sed -i '$a # mine' miniconda3/envs/jupyter/lib/python3*/site-packages/six.py",
            "~/miniconda3/envs/jupyter changed",
            id="file",
        ),
        pytest.param("rm -r miniconda3/lib/python3*/site-packages/conda", "~/miniconda3 changed", id="conda"),
    ],
)
def test_what_was_altered_is_named_repaired_and_then_left_alone(provisioned: Lab, damage: str, reason: str) -> None:
    altered = provisioned.on(NODE, damage)
    assert altered.code == 0, altered.out + altered.err
    foretold = provisioned.playbook("site", "--limit", NODE, "--check")
    repaired = provisioned.playbook("site", "--limit", NODE)
    again = provisioned.playbook("site", "--limit", NODE)
    for run in (foretold, repaired):
        assert run.code == 0, run.out
        assert reason in run.out
        assert "changed=0" not in run.out
    assert "changed=0" in again.out


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
