"""Turn the survey script's answer into one dictionary, and that into the list of what there is to do."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

if TYPE_CHECKING:
    from collections.abc import Mapping

BEGIN = "<<nbfleet survey 1>>"
END = "<<end of nbfleet survey>>"

_NUMBER = re.compile(r"[0-9]{1,18}")
_TEXTS = {
    *("libc_version", "kernel", "distribution", "hostname", "user", "wanted"),
    *("keeper", "kept", "refused", "runtime", "machine_python"),
    *("machine", "apart", "others"),
}


def _value(key: str, text: str) -> str | int | bool:
    if key in _TEXTS:
        return text
    if text in ("yes", "no"):
        return text == "yes"
    return int(text) if _NUMBER.fullmatch(text) else text


def survey_answer(stdout: str) -> dict[str, Any]:
    """Return the survey's answer, whatever a noisy shell printed around it.

    Whole numbers become int, yes and no become bool; names and versions stay text; `differs` is a list, `sources` a
    dictionary.

    Raises:
        AnsibleFilterError: The answer is missing or was cut short.
    """
    _, begin, rest = stdout.replace("\r\n", "\n").partition(BEGIN + "\n")
    body, end, _ = rest.partition(END)
    if not begin or not end:
        said = " ".join(stdout.split())[:200] or "nothing"
        raise AnsibleFilterError(
            f"the account did not answer the survey (it said: {said}); "
            "check that its login shell can run `sh` and `base64`, and that no ForceCommand stands in their place"
        )
    pairs = [(key, text) for key, _, text in (line.partition("=") for line in body.splitlines())]
    answer: dict[str, Any] = {key: _value(key, text) for key, text in pairs if key not in ("differs", "source", "url")}
    answer["differs"] = [text for key, text in pairs if key == "differs"]
    if urls := [text for key, text in pairs if key == "url"]:
        answer["urls"] = urls
    sources = (text.partition(" ") for key, text in pairs if key == "source")
    answer["sources"] = {name: word for name, _, word in sources}
    return answer


def survey_work(answer: Mapping[str, Any], trust: bool = True, sources: Mapping[str, str] | None = None) -> list[str]:
    """Return why the account has work, a few words for each reason; an empty list means that it has none.

    Args:
        answer: What the account has answered.
        trust: Whether its answer may mean that there is nothing to do.
        sources: What things there are to be made from, by name.
    """
    if not trust:
        return ["survey_trust is false", *_kept_otherwise(answer)]
    if answer["receipt"] is not True:
        return ["no receipt of an earlier run", *_kept_otherwise(answer)]
    home = f"{answer['home']}/"
    reasons = [f"{thing.replace(home, '~/', 1)} changed" for thing in answer["differs"]]
    made_from = answer["sources"]
    reasons += [f"the {name} changed" for name, word in (sources or {}).items() if made_from.get(name, "") != word]
    if answer["service"] != "active":
        reasons.append(f"the service is {answer['service'] or 'not reachable'}")
    elif not answer["listening"]:
        reasons.append("the server does not listen")
    return [*reasons, *_kept_otherwise(answer)] if reasons else []


def _kept_otherwise(answer: Mapping[str, Any]) -> list[str]:
    """Return a word about a keeper that is not the first choice: it is never taken in silence."""
    if not answer.get("refused") or answer["keeper"] == "none":
        return []
    return [f"kept by {answer['keeper']}, because {answer['refused']}"]


def survey_digest(asked: str, roles: str) -> str:
    """Return a digest of what is asked of an account and of the roles that would do it.

    Args:
        asked: The values of all role variables, as far as they are known before the account has answered.
        roles: The folder of the roles; their files count, so a new release is a reason to look again.
    """
    digest = hashlib.sha256(asked.encode())
    for file in sorted(Path(roles).rglob("*")):
        if file.is_file() and file.suffix not in {".md", ".pyc"}:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


class FilterModule:
    """The filters of this role, by name."""

    def filters(self) -> dict[str, object]:
        """Return the name of each filter with its function."""
        return {"survey_answer": survey_answer, "survey_work": survey_work, "survey_digest": survey_digest}
