"""Jump hosts for an ssh client that does not know them."""

from __future__ import annotations

import functools
import re

from nbfleet import process


def jump_words(options: list[str], config: str) -> list[str]:
    """Rewrite a jump for an ssh that does not know it: `-J` came with OpenSSH 7.3.

    One hop becomes `ProxyCommand ssh -W`; several are left alone, and ssh says itself that it cannot.
    """
    if client_version() >= (7, 3):
        return options
    rest: list[str] = []
    words = iter(options)
    for word in words:
        jump = None
        if word == "-J":
            jump = next(words, "")
        elif word == "-o":
            value = next(words, "")
            key, _, found = value.replace(" ", "=", 1).partition("=")
            if key.lower() == "proxyjump":
                jump = found
            else:
                rest += [word, value]
        else:
            rest.append(word)
        if jump:
            host, _, port = jump.removeprefix("ssh://").partition(":")
            rest += ["-o", f"ProxyCommand=ssh -F {config} -p {port or 22} -W %h:%p {host}"]
    return rest


@functools.cache
def client_version() -> tuple[int, int]:
    """Return the version of the ssh that is installed here."""
    found = re.search(r"OpenSSH_(?:for_Windows_)?(\d+)\.(\d+)", process.run(["ssh", "-V"], timeout=20).err)
    return (int(found[1]), int(found[2])) if found else (99, 0)
