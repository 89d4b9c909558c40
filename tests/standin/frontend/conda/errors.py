"""The errors that conda shows, with their texts, JSON fields and exit codes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class CondaError(Exception):
    """An error that is shown as `Name: message`, or as an object with `--json`.

    Attributes:
        name: The class name that conda shows.
        module: The module that conda shows in `exception_type`.
        fields: What this error adds to the JSON object.
        return_code: Exit code.
    """

    name = "CondaError"
    module = "conda.exceptions"
    return_code = 1

    def __init__(self, message: str, *, caused_by: str = "None", **fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.caused_by = caused_by
        self.fields = fields

    def as_json(self) -> dict[str, object]:
        """The error as `--json` prints it, keys in order."""
        plain: dict[str, object] = {
            "caused_by": self.caused_by,
            "error": f"{self.name}: {self.message}",
            "exception_name": self.name,
            "exception_type": f"<class '{self.module}.{self.name}'>",
            "message": self.message,
        }
        return dict(sorted((plain | self.fields).items()))

    def as_text(self) -> str:
        """The error as it goes to stderr."""
        return f"\n{self.name}: {self.message}\n"


class CondaValueError(CondaError):
    """A wrong argument."""

    name = "CondaValueError"


class CondaKeyError(CondaError):
    """A wrong configuration key."""

    name = "CondaKeyError"

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"'{key}': {why}", key=key)


class CustomValidationError(CondaError):
    """A configuration value that does not fit its key."""

    name = "CustomValidationError"
    module = "conda.common.configuration"


class CondaEnvironmentError(CondaError):
    """Something that may not be done to an environment."""

    name = "CondaEnvironmentError"


class CondaSystemExit(CondaError):  # noqa: N818 - conda's name
    """An end that is no failure; conda shows it all the same, with exit code 0."""

    name = "CondaSystemExit"
    return_code = 0


class DryRunExit(CondaError):  # noqa: N818 - conda's name
    """The end of a dry run."""

    name = "DryRunExit"
    return_code = 0

    def __init__(self) -> None:
        super().__init__("Dry run. Exiting.")


class CondaSignalInterrupt(CondaError):  # noqa: N818 - conda's name
    """A signal came while packages were linked; what was linked is taken back."""

    name = "CondaSignalInterrupt"

    def __init__(self, name: str) -> None:
        super().__init__(f"Signal interrupt {name}")


class LockError(CondaError):
    """Another conda has the lock of a file in the package cache."""

    name = "LockError"

    def __init__(self) -> None:
        super().__init__("Failed to acquire lock.")


class RemoveError(CondaError):
    """conda was asked to remove itself."""

    name = "RemoveError"


class UnsatisfiableError(CondaError):
    """The solver found no solution."""

    name = "RattlerUnsatisfiableError"
    module = "conda_rattler_solver.exceptions"

    def __init__(self, report: str) -> None:
        super().__init__(
            f"Cannot solve the request because of: The following packages are incompatible\n{report}", allow_retry=False
        )


class EnvironmentLocationNotFound(CondaError):  # noqa: N818 - conda's name
    """There is no such folder."""

    name = "EnvironmentLocationNotFound"

    def __init__(self, prefix: Path) -> None:
        super().__init__(f"Not a conda environment: {prefix}", location=str(prefix))


class EnvironmentNameNotFound(CondaError):  # noqa: N818 - conda's name
    """There is no environment of that name."""

    name = "EnvironmentNameNotFound"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Could not find conda environment: {name}\n"
            "You can list all discoverable environments with `conda info --envs`.\n",
            environment_name=name,
        )


class DirectoryNotACondaEnvironmentError(CondaError):
    """There is a folder, but no environment in it."""

    name = "DirectoryNotACondaEnvironmentError"

    def __init__(self, prefix: Path) -> None:
        super().__init__(
            "The target directory exists, but it is not a conda environment.\n"
            "Use 'conda create' to convert the directory to a conda environment.\n"
            f"  target directory: {prefix}\n",
            target_directory=str(prefix),
        )


class EnvironmentNotWritableError(CondaError):
    """The environment belongs to somebody else."""

    name = "EnvironmentNotWritableError"

    def __init__(self, prefix: Path) -> None:
        uid, gid = os.geteuid(), os.getegid()
        super().__init__(
            "The current user does not have write permissions to the target environment.\n"
            f"  environment location: {prefix}\n  uid: {uid}\n  gid: {gid}\n",
            environment_location=str(prefix),
            uid=uid,
            gid=gid,
        )


class EnvironmentIsFrozenError(CondaError):
    """The environment is marked as frozen."""

    name = "EnvironmentIsFrozenError"

    def __init__(self, prefix: Path, reason: str) -> None:
        why = f" Reason:\n\n    {reason}\n\n" if reason else " "
        super().__init__(
            f"Cannot modify '{prefix}'. The environment is marked as frozen.{why}"
            "You can bypass these protections with the `--override-frozen` flag, at your own risk."
        )


class CorruptedEnvironmentError(CondaError):
    """A record in conda-meta cannot be read."""

    name = "CorruptedEnvironmentError"

    def __init__(self, prefix: Path, record: Path) -> None:
        super().__init__(
            "The target environment has been corrupted. Corrupted environments most commonly\n"
            "occur when the conda process is force-terminated while in an unlink-link\ntransaction.\n"
            f"  environment location: {prefix}\n  corrupted file: {record}\n",
            environment_location=str(prefix),
            corrupted_file=str(record),
        )


class PackageNotInstalledError(CondaError):
    """A package that should be there is not."""

    name = "PackageNotInstalledError"

    def __init__(self, prefix: Path, package: str) -> None:
        super().__init__(
            f"Package is not installed in prefix.\n  prefix: {prefix}\n  package name: {package}\n",
            prefix=str(prefix),
            package_name=package,
        )


class PackagesNotFoundError(CondaError):
    """Packages that should be removed are not installed."""

    name = "PackagesNotFoundInPrefixError"

    def __init__(self, prefix: Path, packages: Sequence[str]) -> None:
        listed = "".join(f"\n  - {package}" for package in packages)
        super().__init__(
            f"The following packages are missing from the target environment:\n{listed}\n",
            packages=list(packages),
            packages_formatted=listed,
            prefix=str(prefix),
        )


class PackagesNotFoundInChannelsError(CondaError):
    """No channel has the packages."""

    name = "PackagesNotFoundInChannelsError"

    def __init__(self, packages: Sequence[str], channels: Sequence[str]) -> None:
        wanted = "".join(f"\n  - {package}" for package in packages)
        listed = "".join(f"\n  - {channel}" for channel in channels)
        super().__init__(
            f"The following packages are not available from current channels:\n{wanted}\n\n"
            f"Current channels:\n{listed}\n\n"
            "To search for alternate channels that may provide the conda package you're\nlooking for, navigate to\n\n"
            "    https://anaconda.org\n\nand use the search bar at the top of the page.\n",
            packages=list(packages),
            packages_formatted=wanted,
            channel_urls=[_channel_json(channel) for channel in channels],
            channels_formatted=listed,
        )


def _channel_json(url: str) -> dict[str, object]:
    scheme, _, rest = url.partition("://")
    location, _, name = rest.rpartition("/")
    return {
        "auth": None,
        "location": location or "/",
        "name": name,
        "package_filename": None,
        "platform": None,
        "scheme": scheme,
        "token": None,
    }


class UnavailableInvalidChannel(CondaError):  # noqa: N818 - conda's name
    """The channel's address has no channel."""

    name = "UnavailableInvalidChannel"

    def __init__(self, url: str, code: int | str, reason: str) -> None:
        channel = url.rstrip("/").rpartition("/")[2]
        message = (
            f"HTTP {code} {reason} for channel {channel} <{url}>\n\n"
            "The channel is not accessible or is invalid.\n\n"
            "You will need to adjust your conda configuration to proceed.\n"
            "Use `conda config --show channels` to view your configuration's current state,\n"
            "and use `conda config --show-sources` to view config file locations.\n"
        )
        if url.startswith("file://"):
            folder = url.removeprefix("file://")
            message += (
                "\nAs of conda 4.3, a valid channel must contain a\n`noarch/repodata.json` even if "
                f"`noarch/repodata.json` is\nempty. Use `conda index {folder}`, or create `noarch/repodata.json`\n"
            )
        super().__init__(
            message,
            channel_name=channel,
            channel_url=url,
            status_code=code,
            reason=reason,
            response_details="",
            json={},
        )


_HTTP_HELP = {
    401: (
        "The credentials you have provided for this URL are invalid.\n\n"
        "You will need to modify your conda configuration to proceed.\n"
        "Use `conda config --show` to view your configuration's current state.\n"
    ),
    403: (
        "You do not have permission to access this resource.\n\nThis may indicate:\n"
        "  - The channel requires authentication. Check your credentials.\n"
        "  - You do not have access to this private channel or package.\n"
    ),
    0: (
        "An HTTP error occurred when trying to retrieve this URL.\n"
        "HTTP errors are often intermittent, and a simple retry will get you on your way.\n"
    ),
    500: (
        "A remote server error occurred when trying to retrieve this URL.\n\n"
        "A 500-type error (e.g. 500, 501, 502, 503, etc.) indicates the server failed to\n"
        "fulfill a valid request.  The problem may be spurious, and will resolve itself if you\n"
        "try your request again.\n"
    ),
}


class CondaHTTPError(CondaError):
    """A download failed."""

    name = "CondaHTTPError"

    def __init__(self, url: str, code: int | str, reason: str, *, caused_by: str, elapsed: str = "-") -> None:
        kind = code if isinstance(code, int) and code in _HTTP_HELP else 0
        if isinstance(code, int) and code >= 500:
            kind = 500
        tail = ""
        if code == "000" and url.endswith("/repodata.json"):
            tail = repr(url.removesuffix("/repodata.json").replace("://", "//")) + "\n"
        super().__init__(
            f"HTTP {code} {reason} for url <{url}>\nElapsed: {elapsed}\n\n{_HTTP_HELP[kind]}{tail}",
            caused_by=caused_by,
            status_code=code,
            reason=reason,
            url=url,
            elapsed_time=elapsed,
            response_details="",
            json={},
        )


class ChecksumMismatchError(CondaError):
    """A download is not what it should be."""

    name = "ChecksumMismatchError"

    def __init__(self, url: str, target: Path, kind: str, expected: str, actual: str) -> None:
        super().__init__(
            "Conda detected a mismatch between the expected content and downloaded content\n"
            f"for url '{url}'.\n  download saved to: {target}\n"
            f"  expected {kind}: {expected}\n  actual {kind}: {actual}\n",
            url=url,
            target_full_path=str(target),
            checksum_type=kind,
            expected_checksum=expected,
            actual_checksum=actual,
            partial_download=False,
        )


class CondaVerificationError(CondaError):
    """A package in the cache is damaged."""

    name = "CondaVerificationError"

    def __init__(self, package: str, folder: Path, path: str) -> None:
        super().__init__(
            f"The package for {package} located at {folder}\n"
            f"appears to be corrupted. The path '{path}'\n"
            "specified in the package manifest cannot be found.\n"
        )


class PlainError(CondaError):
    """An error of the system inside a transaction, e.g. a full disk, shown as Python shows it."""

    name = "OSError"

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error

    def as_json(self) -> dict[str, object]:
        """The error as conda prints exceptions that are not its own."""
        kind = type(self.error)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        return {
            "error": repr(self.error),
            "exception_name": kind.__name__,
            "exception_type": f"<class '{module}{kind.__name__}'>",
            "message": str(self.error),
        }

    def as_text(self) -> str:
        """The bare text."""
        return f"\n{self.message}\n"


class EmptyTupleError(CondaError):
    """What conda shows after the error of a transaction that was taken back without further errors."""

    def __init__(self) -> None:
        super().__init__("()")

    def as_json(self) -> dict[str, object]:
        """An empty tuple, as conda prints it."""
        return {"error": "()", "exception_name": "tuple", "exception_type": "<class 'tuple'>", "message": "()"}

    def as_text(self) -> str:
        """The bare text."""
        return "\n()\n"


class CondaMultiError(CondaError):
    """Several errors at once."""

    name = "CondaMultiError"

    def __init__(self, errors: Sequence[CondaError]) -> None:
        super().__init__("Multiple Errors Encountered.")
        self.errors = errors

    def as_json(self) -> dict[str, object]:
        """The errors in a list."""
        return {
            "error": "Multiple Errors Encountered.",
            "errors": [error.as_json() for error in self.errors],
            "exception_name": "CondaMultiError",
            "exception_type": "<class 'conda.CondaMultiError'>",
        }

    def as_text(self) -> str:
        """The errors, one after the other."""
        return "".join(error.as_text() for error in self.errors)
