"""A distribution behind certificates of the site's own, as where a proxy opens every connection."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml
from accounts import kernel_variables

from tests.machines import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.machines import Lab, Run

pytestmark = pytest.mark.sampled("worlds")
ACCOUNT, HOME, PORT = "zoe-node12", "/home/zoe", 8443
AUTHORITY = "/usr/local/share/nbfleet-test-authority.pem"  # on the node, for everybody to read
TRUSTING = ["-e", f"miniconda_ca_bundle={AUTHORITY}"]
UNIT = "nbfleet-test-https"
EXTENSIONS = """
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:{address}
authorityKeyIdentifier = keyid
"""
SERVER = """
import functools, http.server, ssl, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory="/srv/channel")
server = http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), handler)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("/run/nbfleet-test-https.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def certificates(folder: Path, address: str) -> tuple[str, str]:
    """Make an authority and the certificate of a server; returns the authority's, and the server's with its key."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-subj", "/CN=The site's own", "-days", "30", "-keyout", "ca.key", "-out", "ca.pem",
            "-addext", "keyUsage = critical,keyCertSign,cRLSign")  # fmt: skip
    openssl("req", "-new", *key, "-subj", f"/CN={address}", "-keyout", "server.key", "-out", "server.csr")
    (folder / "extensions").write_text(EXTENSIONS.format(address=address))
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
            "-extfile", "extensions", "-out", "server.pem")  # fmt: skip
    return (folder / "ca.pem").read_text(), (folder / "server.pem").read_text() + (folder / "server.key").read_text()


@pytest.fixture(scope="module")
def words(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The words for a run that has everything by https."""
    folder = tmp_path_factory.mktemp("certificates")
    address = lab.address("channel")
    authority, server = certificates(folder, address)
    run = f'systemd-run --quiet --collect --unit={UNIT} python3 -c "$1" {PORT}'
    started = lab.root("channel", f'umask 077; printf %s "$2" >/run/{UNIT}.pem; {run}', SERVER, server)
    assert started.code == 0, started.err
    placed = lab.root("node12", f'printf %s "$1" >{AUTHORITY}', authority)
    assert placed.code == 0, placed.err
    ask = f"curl -s -o /dev/null --cacert {AUTHORITY} https://{address}:{PORT}/"
    wait_for("the https server", lambda: lab.root("node12", ask).code == 0)
    base = f"https://{address}:{PORT}"
    wanted = folder / "wanted.yml"
    places = {"miniconda_base_url": f"{base}/miniconda", "conda_config_channel_alias": base}
    # A lock of its own, so that every address in it is one of this server.
    wanted.write_text(yaml.safe_dump({**places, "jupyter_locks": str(folder)}))
    yield ["--limit", ACCOUNT, "-e", f"@{wanted}"]
    lab.root("channel", f"systemctl stop {UNIT}; rm -f /run/{UNIT}.pem")
    lab.root("node12", f"rm -f {AUTHORITY}")


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
