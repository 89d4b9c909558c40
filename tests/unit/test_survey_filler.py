"""Filling in without Jinja what only names another variable: always to what Jinja would have made of it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, is_trusted_as_template, trust_as_template
from hypothesis import example, given, settings
from hypothesis import strategies as st
from role_code import load

Filler = load("survey", "survey_account", "action_plugins").Filler

KEYS = ["home", "items", "v1"]


def values(others: list[str]) -> st.SearchStrategy[Any]:
    """Return values as they stand in variables, whose templates name others."""
    plain = ["/a b/", "\n", "{%", "}}", "{# no #}", "{{ true }}", "{{ 'x' | upper }}", "{{ undefined_one }}"]
    named = [f"{{{{ {name} }}}}" for name in others] + [f"{{{{ {name}.{key} }}}}" for name in others for key in KEYS]
    odd = [f"{{{{{name}}}}}" for name in others] + [f"{{{{ {name} | string | length }}}}" for name in others]
    pieces = st.sampled_from(plain) | st.sampled_from(named or plain) | st.sampled_from(named + odd or plain)
    templates = st.lists(pieces, min_size=1, max_size=3).map("".join)
    texts = templates.map(trust_as_template) | templates.map(trust_as_template) | templates
    leaves = texts | st.sampled_from([7, True, None, 1.5])
    return leaves | st.lists(leaves, max_size=2) | st.dictionaries(st.sampled_from(KEYS), leaves, max_size=3)


@st.composite
def variables_of_a_play(draw: st.DrawFn) -> dict[str, Any]:
    """Draw variables of which each may name those before it."""
    drawn: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 6))):
        drawn[f"v{number}"] = draw(values(list(drawn)[-2:]))
    return drawn


def said(variables: dict[str, Any], name: str) -> object:
    """Return what Jinja makes of a variable, or that it refuses."""
    try:
        return Templar(loader=DataLoader(), variables=variables).template(variables[name])
    except AnsibleError:
        return "refused"


@settings(deadline=None, max_examples=500)
@given(variables_of_a_play())
@example({"v0": None, "v1": trust_as_template("{{ v0 }}/x")})
def test_jinja_makes_the_same_of_what_was_filled_in(variables: dict[str, Any]) -> None:
    filled = Filler(variables).all()
    for name in variables:
        assert repr(said(filled, name)) == repr(said(variables, name))


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ("{{ survey.home }}/token", "/home/u1/token"),
        ("{{ state }}/{{ survey.uid }}", "/home/u1/.config/1000"),
        ("{{ survey }}", {"home": "/home/u1", "uid": 1000}),
    ],
)
def test_what_only_names_others_is_filled_in(written: str, becomes: object) -> None:
    state = trust_as_template("{{ survey.home }}/.config")
    given = {"survey": {"home": "/home/u1", "uid": 1000}, "state": state, "one": trust_as_template(written)}
    assert Filler(given).all()["one"] == becomes


def test_what_an_account_said_is_no_template() -> None:
    given = {"secret": "s3cret", "survey": {"home": "{{ secret }}"}, "one": trust_as_template("{{ survey.home }}/x")}
    one = Filler(given).all()["one"]
    assert one == "{{ secret }}/x"
    assert not is_trusted_as_template(one)
