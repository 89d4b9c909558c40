"""Kernels by one word: the ready entries of `jupyter_ready_kernels`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def named_kernels(asked: Sequence[str | Mapping[str, Any]], ready: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Return what is asked for, with the ready entry in the place of each word.

    Raises:
        AnsibleFilterError: There is no ready entry of that name, or one says neither what to install nor what to run.
    """
    found = []
    for one in asked:
        if isinstance(one, str) and one not in ready:
            raise AnsibleFilterError(
                f"jupyter_kernels names {one}, for which nothing is ready; write its name and packages (or argv), "
                f"or one of: {', '.join(sorted(ready))}"
            )
        kernel = {"name": one, **ready[one]} if isinstance(one, str) else dict(one)
        if not kernel.get("name") or not (kernel.get("packages") or kernel.get("argv")):
            raise AnsibleFilterError(
                f"jupyter_kernels has an entry ({kernel.get('name') or 'without a name'}) that needs a name and "
                "packages, for an environment of its own, or argv, for a program of the machine"
            )
        found.append(kernel)
    return found


class FilterModule:
    """The filters of this role, by name."""

    def filters(self) -> dict[str, object]:
        """Return the name of each filter with its function."""
        return {"named_kernels": named_kernels}
