"""What activating an environment changes: the variables, and the scripts that are sourced; for sh, csh and fish."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import records
from .errors import CondaValueError, EnvironmentLocationNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .context import Context


@dataclass
class Step:
    """One change of a shell's state, in this order: scripts left, variables, scripts entered."""

    leave: list[Path] = field(default_factory=list)
    unset: list[str] = field(default_factory=list)
    export: dict[str, str] = field(default_factory=dict)
    plain: dict[str, str] = field(default_factory=dict)
    enter: list[Path] = field(default_factory=list)


def _scripts(prefix: Path, folder: str, ending: str) -> list[Path]:
    return sorted((prefix / "etc" / "conda" / folder).glob(f"*{ending}"))


def _prompt(environ: Mapping[str, str], modifier: str, context: Context) -> dict[str, str]:
    if not context.get("changeps1"):
        return {}
    prompt = environ.get("PS1", "")
    old = environ.get("CONDA_PROMPT_MODIFIER", "")
    if old and old in prompt:
        prompt = prompt.replace(old, "", 1)
    return {"PS1": f"{modifier}{prompt}"}


def _without(path: str, prefix: str) -> list[str]:
    return [part for part in path.split(os.pathsep) if part and part != f"{prefix}/bin"]


def activate(context: Context, wanted: str | None, environ: Mapping[str, str], ending: str, *, stack: bool) -> Step:
    """The step into an environment.

    Args:
        context: The configuration.
        wanted: Name or path; without one, the default environment.
        environ: The shell's variables.
        ending: Of the activate.d scripts: `.sh`, `.csh` or `.fish`.
        stack: Whether the active environment stays on PATH.

    Returns:
        The step.
    """
    text = wanted or str(context.get("default_activation_env"))
    if "/" in text:
        prefix = Path(os.path.normpath(Path(text).expanduser().absolute()))
        if not (prefix / "conda-meta").is_dir():
            raise EnvironmentLocationNotFound(prefix)
    else:
        prefix = records.locate(context, text, None)
    level = int(environ.get("CONDA_SHLVL") or 0)
    old = environ.get("CONDA_PREFIX") if level else None
    name = records.env_name(prefix, context) or str(prefix)
    modifier = str(context.get("env_prompt")).format(default_env=name, stacked_env="", prefix=str(prefix), name=name)
    parts = [part for part in environ.get("PATH", "").split(os.pathsep) if part]
    condabin = str(context.root / "condabin")
    if condabin not in parts:
        parts.insert(0, condabin)
    step = Step()
    if old == str(prefix):
        step.leave = list(reversed(_scripts(prefix, "deactivate.d", ending)))
        step.enter = _scripts(prefix, "activate.d", ending)
        parts = [f"{prefix}/bin", *_without(os.pathsep.join(parts), str(prefix))]
        step.export = {"PATH": os.pathsep.join(parts), "CONDA_SHLVL": str(level)}
        return step
    if old and not stack:
        parts = _without(os.pathsep.join(parts), old)
        step.leave = list(reversed(_scripts(Path(old), "deactivate.d", ending)))
    if old:
        step.export[f"CONDA_PREFIX_{level}"] = old
        if stack:
            step.export[f"CONDA_STACKED_{level + 1}"] = "true"
    step.export |= {
        "PATH": os.pathsep.join([f"{prefix}/bin", *parts]),
        "CONDA_PREFIX": str(prefix),
        "CONDA_SHLVL": str(level + 1),
        "CONDA_DEFAULT_ENV": name,
        "CONDA_PROMPT_MODIFIER": modifier,
        "CONDA_EXE": str(context.root / "bin" / "conda"),
        "CONDA_PYTHON_EXE": str(context.root / "bin" / "python"),
    }
    step.plain = _prompt(environ, modifier, context)
    step.enter = _scripts(prefix, "activate.d", ending)
    return step


def deactivate(context: Context, environ: Mapping[str, str], ending: str) -> Step:
    """The step out of the active environment, back into the one before."""
    level = int(environ.get("CONDA_SHLVL") or 0)
    current = environ.get("CONDA_PREFIX")
    if level < 1 or not current:
        return Step()
    path = os.pathsep.join(_without(environ.get("PATH", ""), current))
    step = Step(leave=list(reversed(_scripts(Path(current), "deactivate.d", ending))))
    if level == 1:
        step.unset = ["CONDA_PREFIX", "CONDA_DEFAULT_ENV", "CONDA_PROMPT_MODIFIER"]
        step.export = {"PATH": path, "CONDA_SHLVL": "0"}
        step.plain = _prompt(environ, "", context)
        return step
    before = environ.get(f"CONDA_PREFIX_{level - 1}", "")
    stacked = environ.get(f"CONDA_STACKED_{level}") is not None
    name = records.env_name(Path(before), context) or before
    modifier = str(context.get("env_prompt")).format(default_env=name, stacked_env="", prefix=before, name=name)
    step.unset = [f"CONDA_PREFIX_{level - 1}", *([f"CONDA_STACKED_{level}"] if stacked else [])]
    step.export = {
        "PATH": path if stacked else os.pathsep.join([f"{before}/bin", path]),
        "CONDA_PREFIX": before,
        "CONDA_SHLVL": str(level - 1),
        "CONDA_DEFAULT_ENV": name,
        "CONDA_PROMPT_MODIFIER": modifier,
    }
    step.plain = _prompt(environ, modifier, context)
    step.enter = [] if stacked else _scripts(Path(before), "activate.d", ending)
    return step


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


def render(step: Step, shell: str) -> str:
    """The step in a shell's own words.

    Args:
        step: The step.
        shell: `posix` (also bash, zsh, dash), `csh` (also tcsh) or `fish`.

    Returns:
        Lines to be evaluated.
    """
    lines: list[str] = []
    if shell == "csh":
        lines += [f"source {_quoted(str(path))};" for path in step.leave]
        lines += [f"unsetenv {key};" for key in step.unset]
        lines += [f"setenv {key} {_quoted(value)};" for key, value in step.export.items()]
        lines += [f"source {_quoted(str(path))};" for path in step.enter]
    elif shell == "fish":
        lines += [f"source {_quoted(str(path))};" for path in step.leave]
        lines += [f"set -e {key};" for key in step.unset]
        lines += [
            f"set -gx PATH {' '.join(_quoted(part) for part in value.split(os.pathsep))};"
            if key == "PATH"
            else f"set -gx {key} {_quoted(value)};"
            for key, value in step.export.items()
        ]
        lines += [f"source {_quoted(str(path))};" for path in step.enter]
    else:
        lines += [f". {_quoted(str(path))}" for path in step.leave]
        lines += [f"unset {key}" for key in step.unset]
        lines += [f"{key}={_quoted(value)}" for key, value in step.plain.items()]
        lines += [f"export {key}={_quoted(value)}" for key, value in step.export.items()]
        lines += [f". {_quoted(str(path))}" for path in step.enter]
    return "\n".join(lines) + ("\n" if lines else "")


ENDINGS = {"posix": ".sh", "csh": ".csh", "fish": ".fish"}
_FAMILY = {"bash": "posix", "zsh": "posix", "dash": "posix", "ash": "posix", "sh": "posix", "tcsh": "csh"}


def shell_command(words: list[str], context: Context) -> str:
    """`conda shell.SHELL VERB ...`: the lines for the shell to evaluate.

    Raises:
        CondaValueError: An unknown shell or verb.
    """
    shell = words[0].removeprefix("shell.")
    shell = _FAMILY.get(shell, shell)
    if shell not in ENDINGS or len(words) < 2:
        message = f"Shell {shell} is not known, or no command was given."
        raise CondaValueError(message)
    verb, *rest = words[1:]
    stack = "--stack" in rest
    names = [word for word in rest if not word.startswith("-")]
    if verb == "activate":
        return render(activate(context, names[0] if names else None, os.environ, ENDINGS[shell], stack=stack), shell)
    if verb == "deactivate":
        return render(deactivate(context, os.environ, ENDINGS[shell]), shell)
    if verb == "reactivate":
        current = os.environ.get("CONDA_PREFIX")
        if not current:
            return ""
        return render(activate(context, current, os.environ, ENDINGS[shell], stack=False), shell)
    if verb == "hook":
        place = {
            "posix": "etc/profile.d/conda.sh",
            "csh": "etc/profile.d/conda.csh",
            "fish": "etc/fish/conf.d/conda.fish",
        }
        text = (context.root / place[shell]).read_text()
        if context.get("auto_activate"):
            text += f"\nconda activate '{context.get('default_activation_env')}'\n"
        return text
    message = f"Unknown command: {verb}"
    raise CondaValueError(message)
