"""The noop benchmark's deploy for pyinfra: what nbfleet's survey looks at, each thing by pyinfra's own operation."""

from pathlib import Path

from pyinfra import host
from pyinfra.facts.server import Command
from pyinfra.operations import files, systemd

for path, mode, copy in host.loop(host.data.files):
    if path.endswith("/.bashrc"):
        text = Path(copy).read_text(encoding="utf-8")
        block = text.partition("# >>> nbfleet >>>\n")[2].partition("\n# <<< nbfleet <<<")[0]
        files.block(
            path=path, content=block, marker="# {mark}", begin=">>> nbfleet >>>", end="<<< nbfleet <<<", present=True
        )
    else:
        files.put(src=copy, dest=path, mode=mode)
for path in host.loop(host.data.gone):
    files.file(path=path, present=False)
for path in host.loop(host.data.there):
    files.file(path=path, present=True)
for path, target in host.loop(host.data.link):
    files.link(path=path, target=target)
for path, digest in host.data.tree:
    # As the survey's: what Python writes by itself does not count.
    found = host.get_fact(
        Command,
        f"find -H {path} \\( -path {path}/envs -o -path {path}/pkgs -o -name __pycache__ \\) -prune -o "
        "\\( -type f -o -type l \\) ! -name '*.pyc' ! -name history -printf '%P %s %m %T@\\n' "
        "| LC_ALL=C sort | sha256sum | cut -c1-64",
    )
    if found != digest:
        raise ValueError(f"{path} is not what the receipt says")
systemd.service(service=host.data.unit, running=True, enabled=True, user_mode=True)
