"""Where the channels' indexes are, as the role's own variables say it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.template import Templar
from role_code import variables

FORGE = "https://conda.anaconda.org/conda-forge/noarch/repodata.json"


@pytest.mark.parametrize(
    ("given", "indexes"),
    [
        ({}, [FORGE]),
        ({"conda_config_channel_alias": "http://mirror/c/"}, ["http://mirror/c/conda-forge/noarch/repodata.json"]),
        (
            {"conda_config_channels": ["https://me:secret@mirror/own/", "conda-forge"]},
            ["https://mirror/own/noarch/repodata.json", FORGE],
        ),
        ({"conda_config_channels": ["https://mirror/t/secret/own"]}, ["https://mirror/own/noarch/repodata.json"]),
        ({"conda_config_channels": []}, ["https://repo.anaconda.com/pkgs/main/noarch/repodata.json"]),
    ],
)
def test_each_channel_has_its_index_and_no_secret(given: dict[str, Any], indexes: list[str]) -> None:
    found = variables("conda_config")
    assert Templar(loader=None, variables=found | given).template(found["conda_config_indexes"]) == indexes
