"""A proxy that asks for a password as the only way out: everything passes it, and nobody else sees the password."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from accounts import kernel_variables
from looker import Looker, shows
from own_authority import AUTHORITY, https_channel

from tests.faults.notebook import Notebook
from tests.machines import only_way, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machines import Lab

pytestmark = pytest.mark.sampled("worlds")
ACCOUNT, HOME = "zoe-node12", "/home/zoe"
USER, PASSWORD, PORT = "nbfleet", "geheim-47.11", 3128
# As it stands in the address; what must not be seen is in both forms.
QUOTED, SECRET = "%67eheim-47.11", "eheim-47.11"
LOG = "/run/nbfleet-test-proxy.log"
CONFIGURATION = f"""
Port {PORT}
LogFile "{LOG}"
LogLevel Connect
MaxClients 100
BasicAuth {USER} {PASSWORD}
"""


@pytest.fixture(scope="module")
def proxy(lab: Lab) -> Iterator[str]:
    """The address of a proxy on the bastion, beside which the node has no way to the channel."""
    stop = f"systemctl stop nbfleet-test-proxy 2>/dev/null; rm -f {LOG} /run/nbfleet-test-proxy.conf"
    lab.root("bastion", stop)
    started = lab.root(
        "bastion",
        f"printf '%s' '{CONFIGURATION}' >/run/nbfleet-test-proxy.conf && systemd-run --quiet --collect "
        "--unit=nbfleet-test-proxy tinyproxy -d -c /run/nbfleet-test-proxy.conf",
    )
    assert started.code == 0, started.err
    address = f"{lab.address('bastion')}:{PORT}"
    ask = f"curl -s -o /dev/null http://{address}/"
    wait_for("the proxy", lambda: lab.root("node12", ask).code == 0, seconds=20)
    with only_way(lab, "node12", "bastion"):
        yield address
    lab.root("bastion", stop)


@pytest.fixture(scope="module", autouse=True)
def https(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with a certificate of the site's own."""
    with https_channel(lab, "node12", tmp_path_factory.mktemp("authority")) as base:
        yield base


@pytest.fixture(scope="module")
def wishes(proxy: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words for a run through the proxy; the password stands in a file."""
    folder = tmp_path_factory.mktemp("wishes")
    file = folder / "proxy.yml"
    address = f"http://{USER}:{QUOTED}@{proxy}"
    # A solve, so that the channel's index is asked for, too.
    wanted = {"miniconda_proxy": address, "miniconda_no_proxy": ["intra.example.org"], "jupyter_locks": str(folder)}
    wanted["miniconda_ca_bundle"] = AUTHORITY
    file.write_text(yaml.safe_dump(wanted))
    return ["--limit", ACCOUNT, "-e", f"@{file}"]


@pytest.fixture(scope="module")
def through(lab: Lab, wishes: list[str]) -> Iterator[dict[str, Any]]:
    """What came of a run on a bare account through the proxy, with its arguments watched."""
    lab.playbook("remove", "--limit", ACCOUNT)
    looker = Looker()
    looker.start()
    done = lab.playbook("site", *wishes, "-vvv", "--diff")
    looked = lab.playbook("doctor", *wishes, "-vvv")
    looker.end()
    yield {"run": done, "doctor": looked, "arguments": looker.arguments}
    removed = lab.playbook("remove", *wishes)
    assert removed.code == 0, removed.out
    assert "network.env" not in lab.on(ACCOUNT, f"find {HOME} -name network.env").out


def test_with_another_password_the_refusal_says_what_to_correct(proxy: str, lab: Lab) -> None:
    lab.playbook("remove", "--limit", ACCOUNT)
    refused = lab.playbook("site", "--limit", ACCOUNT, "-e", f"miniconda_proxy=http://{USER}:verkehrt@{proxy}")
    assert refused.code != 0
    text = " ".join(refused.out.split())
    # Debian 12's tinyproxy says 401 where others say 407.
    assert "it wants a user and a password; give them in miniconda_proxy" in text, text[-1500:]
    assert "verkehrt" not in refused.out + refused.err
    assert lab.on(ACCOUNT, f"test ! -e {HOME}/miniconda3").code == 0


def test_everything_comes_through_the_proxy(through: dict[str, Any], lab: Lab) -> None:
    assert through["run"].code == 0, through["run"].out[-4000:]
    log = lab.root("bastion", f"cat {LOG}").out
    for part in ("Miniconda3-standin-Linux-x86_64.sh", "/conda-forge/noarch/repodata", ".conda HTTP"):
        assert part in log, part


def test_the_doctor_asks_through_the_proxy(through: dict[str, Any]) -> None:
    assert through["doctor"].code == 0, through["doctor"].out[-4000:]
    channels = re.findall(r"check: channel\s+level: (\w+)", through["doctor"].out)
    assert channels
    assert set(channels) == {"ok"}


@pytest.mark.usefixtures("through")
def test_a_second_run_changes_nothing(lab: Lab, wishes: list[str]) -> None:
    again = lab.playbook("site", *wishes, "-e", "survey_trust=false")
    assert again.code == 0, again.out[-4000:]
    assert "changed=0" in again.out


@pytest.mark.usefixtures("through")
def test_conda_and_kernels_have_the_proxy_too(lab: Lab) -> None:
    assert '"success"' in lab.said(
        ACCOUNT, f"{HOME}/miniconda3/bin/conda create -n nbfleet-test --dry-run --json -y idna"
    )
    variables = kernel_variables(lab, ACCOUNT)
    assert variables["https_proxy"] == variables["HTTP_PROXY"]
    assert f":{QUOTED}@" in variables["https_proxy"]
    assert variables["no_proxy"] == "localhost,127.0.0.1,::1,intra.example.org"
    assert "http://intra.example.org: ''" in lab.said(ACCOUNT, f"cat {HOME}/miniconda3/.condarc")


@pytest.mark.usefixtures("through")
def test_a_kernel_fetches_by_the_proxy_and_by_the_certificates_with_no_setting_in_its_code(
    lab: Lab, wishes: list[str], https: str
) -> None:
    assert lab.nbfleet("up", "-i", str(lab.inventory), ACCOUNT, *wishes[2:]).code == 0
    opened = lab.nbfleet("connect", ACCOUNT, "--background", "--no-browser", "--json")
    notebook = Notebook(str(opened.answer["data"]["url"]))
    kernel = notebook.start_kernel()
    index = "conda-forge/noarch/repodata.json?by=kernel"
    http = f"http://{lab.address('channel')}:{lab.machine('channel')['port']}"
    for base in (http, https):
        code = f"import urllib.request; print(urllib.request.urlopen('{base}/{index}', timeout=30).read(60))"
        assert "info" in notebook.run(kernel, code)
    log = lab.root("bastion", f"cat {LOG}").out
    assert f"GET {http}/{index} " in log
    assert f"CONNECT {https.removeprefix('https://')} " in log


def test_the_password_is_in_no_argument_no_output_and_no_file_that_others_can_read(
    through: dict[str, Any], lab: Lab
) -> None:
    assert len(through["arguments"]) > 100
    assert not [words[:200] for words in through["arguments"] if shows(words, SECRET.encode())]
    assert SECRET not in through["run"].out + through["run"].err
    assert SECRET not in through["doctor"].out + through["doctor"].err
    places = f"{HOME} /tmp /var /run/user"
    found = lab.root("node12", f"grep -rlsF {SECRET} {places} | xargs -r stat -c '%a %U %n'").out.splitlines()
    assert [line for line in found if not line.startswith("600 zoe ")] == []
    assert sorted(line.split()[2] for line in found) == [
        f"{HOME}/.config/nbfleet/network.env",
        f"{HOME}/miniconda3/.condarc",
    ]
