"""A distribution behind certificates of the site's own, as where a proxy opens every connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from accounts import kernel_variables
from own_authority import AUTHORITY, https_channel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machines import Lab, Run

pytestmark = pytest.mark.sampled("worlds")
ACCOUNT, HOME = "zoe-node12", "/home/zoe"
TRUSTING = ["-e", f"miniconda_ca_bundle={AUTHORITY}"]


@pytest.fixture(scope="module")
def words(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The words for a run that has everything by https."""
    folder = tmp_path_factory.mktemp("certificates")
    wanted = folder / "wanted.yml"
    with https_channel(lab, "node12", folder) as base:
        places = {"miniconda_base_url": f"{base}/miniconda", "conda_config_channel_alias": base}
        # A lock of its own, so that every address in it is one of this server.
        wanted.write_text(yaml.safe_dump({**places, "jupyter_locks": str(folder)}))
        yield ["--limit", ACCOUNT, "-e", f"@{wanted}"]


@pytest.fixture(scope="module")
def trusting(lab: Lab, words: list[str]) -> Iterator[Run]:
    """What came of a run on a bare account that was told of the authority."""
    yield lab.playbook("site", *words, *TRUSTING)
    removed = lab.playbook("remove", *words, *TRUSTING)
    assert removed.code == 0, removed.out


def test_who_is_not_known_is_not_believed(lab: Lab, words: list[str]) -> None:
    lab.bare("node12", "zoe")
    refused = lab.playbook("site", *words)
    assert refused.code != 0
    assert "set miniconda_ca_bundle to the certificates of your network" in " ".join(refused.out.split())
    assert lab.on(ACCOUNT, f"test ! -e {HOME}/miniconda3").code == 0


def test_installer_index_and_packages_come_with_the_site_s_certificates(
    trusting: Run, lab: Lab, words: list[str]
) -> None:
    assert trusting.code == 0, trusting.out[-4000:]
    again = lab.playbook("site", *words, *TRUSTING, "-e", "survey_trust=false")
    assert "changed=0" in again.out, again.out[-4000:]


@pytest.mark.usefixtures("trusting")
def test_conda_and_kernels_have_them_too(lab: Lab) -> None:
    dry_run = f"{HOME}/miniconda3/bin/conda create -n nbfleet-test --dry-run --json -y idna"
    assert '"success"' in lab.said(ACCOUNT, dry_run)
    variables = kernel_variables(lab, ACCOUNT)
    assert {variables[name] for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")} == {AUTHORITY}
