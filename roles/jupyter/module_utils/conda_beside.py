# SPDX-License-Identifier: Apache-2.0
"""A new generation of an environment: what goes into it beside its lock, and what is noted in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .conda_carry import (
    Distribution,
    carry_files,
    conda_extras,
    conda_files,
    explicit_lines,
    pip_distributions,
    require_same_python,
    spared,
)
from .conda_kernels import planned_variables
from .conda_records import write

if TYPE_CHECKING:
    from collections.abc import Collection

    from .conda_records import Environment


class Extras(NamedTuple):
    """What a person added: by conda, as conda knows it, and by pip."""

    by_conda: dict[str, dict[str, Any]]
    by_pip: list[Distribution]

    @classmethod
    def of(cls, now: Environment, lock: str, leave: Collection[str]) -> Extras:
        """Find what has to be carried into an environment of that lock.

        Raises:
            Refusal: It cannot be.
        """
        found = pip_distributions(now, conda_files(now))
        names = spared([one.name for one in found], leave)
        by_pip = [one for one in found if one.name in names]
        require_same_python(now, lock, by_pip)
        return cls(conda_extras(now, lock, leave), by_pip)

    @property
    def names(self) -> list[str]:
        """Return what is carried, as a person reads it."""
        by_conda = [f"{name} {one['version']}" for name, one in self.by_conda.items()]
        return [*by_conda, *(f"{one.name} {one.version} (pip)" for one in self.by_pip)]

    def with_lock(self, lock: str) -> str:
        """Return the lock with the packages that a person added by conda."""
        return f"{lock.rstrip()}\n{explicit_lines(self.by_conda)}"


def settle(new: Environment, now: Environment, name: Path, extras: Extras, variables_file: str | None) -> list[str]:
    """Carry files over, and note whose packages are whose; return pip's packages that the new one has by conda."""
    left = carry_files(now, new, extras.by_pip)
    ours = [package for package in new.marker["packages"] if package not in extras.by_conda]
    write(new.marker_file, json.dumps({**new.marker, "name": str(name), "packages": ours}, indent=1) + "\n", 0o644)
    if variables_file and Path(variables_file).is_relative_to(name):
        file = new.path / Path(variables_file).relative_to(name)
        _, after = planned_variables(new, str(file))
        if after:
            write(file, after, 0o600)
    return left
