"""Turn the survey script's answer into one dictionary."""

from __future__ import annotations

import re

from ansible.errors import AnsibleFilterError

BEGIN = "<<nbfleet survey 1>>"
END = "<<end of nbfleet survey>>"


_NUMBER = re.compile(r"[0-9]{1,18}")
_TEXTS = {"libc_version", "kernel", "distribution", "hostname", "user"}


def _value(key: str, text: str) -> str | int | bool:
    if key in _TEXTS:
        return text
    if text in ("yes", "no"):
        return text == "yes"
    return int(text) if _NUMBER.fullmatch(text) else text


def survey_answer(stdout: str) -> dict[str, str | int | bool]:
    """Return the survey's answer, whatever a noisy shell printed around it.

    Whole numbers become int, yes and no become bool; names and versions stay text.

    Raises:
        AnsibleFilterError: The answer is missing or was cut short.
    """
    _, begin, rest = stdout.replace("\r\n", "\n").partition(BEGIN + "\n")
    body, end, _ = rest.partition(END)
    if not begin or not end:
        said = " ".join(stdout.split())[:200] or "nothing"
        raise AnsibleFilterError(
            f"the account did not answer the survey (it said: {said}); "
            "check that its login shell can run `sh` and `base64`"
        )
    pairs = (line.partition("=") for line in body.splitlines())
    return {key: _value(key, text) for key, _, text in pairs}


class FilterModule:
    """The filters of this role, by name."""

    def filters(self) -> dict[str, object]:
        """Return the name of each filter with its function."""
        return {"survey_answer": survey_answer}
