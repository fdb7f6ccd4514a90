"""What can go wrong, with step-runner's class of it."""

from __future__ import annotations

import re
import sys
from importlib import metadata

DAMAGED = "the file is incomplete or damaged: fetch it again and compare its checksum"


class CutError(Exception):
    """A failure that a user can understand; kind is one of step-runner's classes."""

    def __init__(self, message: str, hint: str = "", kind: str = "bad-input") -> None:
        super().__init__(message)
        self.message, self.hint, self.kind = message, hint, kind


def need(library: str, least: tuple[int, ...]) -> None:
    """Fails when the library is older. That it is missing shows when it is imported."""
    try:
        version = metadata.version(library)
    except metadata.PackageNotFoundError:
        return
    if tuple(int(n) for n in re.findall(r"\d+", version)[: len(least)]) < least:
        wanted = ".".join(str(n) for n in least)
        raise CutError(f"{sys.executable} has {library} {version}, {wanted} is needed", f"install {library} {wanted} or later", "missing-tool")
