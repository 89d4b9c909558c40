"""A server of packages whose certificate is of the site's own authority."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

from tests.machines import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.machines import Lab

AUTHORITY = "/usr/local/share/nbfleet-test-authority.pem"  # on the node, for everybody to read
PORT = 8443
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


@contextlib.contextmanager
def https_channel(lab: Lab, machine: str, folder: Path) -> Iterator[str]:
    """Serve the lab's channel by https, for as long as the block lasts; a machine has the authority as a file.

    Args:
        lab: The lab.
        machine: The machine that may trust the server.
        folder: Where keys and certificates are made.
    """
    address = lab.address("channel")
    authority, server = certificates(folder, address)
    run = f'systemd-run --quiet --collect --unit={UNIT} python3 -c "$1" {PORT}'
    started = lab.root("channel", f'umask 077; printf %s "$2" >/run/{UNIT}.pem; {run}', SERVER, server)
    assert started.code == 0, started.err
    try:
        placed = lab.root(machine, f'printf %s "$1" >{AUTHORITY}', authority)
        assert placed.code == 0, placed.err
        ask = f"curl --silent --insecure --output /dev/null https://localhost:{PORT}/"
        wait_for("the https server", lambda: lab.root("channel", ask).code == 0)
        yield f"https://{address}:{PORT}"
    finally:
        lab.root("channel", f"systemctl stop {UNIT}; rm -f /run/{UNIT}.pem")
        lab.root(machine, f"rm -f {AUTHORITY}")
