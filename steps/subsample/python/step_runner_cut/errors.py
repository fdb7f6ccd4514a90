"""What can go wrong, with step-runner's class of it."""

from __future__ import annotations

DAMAGED = "the file is incomplete or damaged: fetch it again and compare its checksum"


class CutError(Exception):
    """A failure that a user can understand; kind is one of step-runner's classes."""

    def __init__(self, message: str, hint: str = "", kind: str = "bad-input") -> None:
        super().__init__(message)
        self.message, self.hint, self.kind = message, hint, kind
