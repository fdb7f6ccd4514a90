"""Tells step-runner how far the work has come."""

from __future__ import annotations

import json
import time
from typing import Any, TextIO


class Progress:
    """Counts bytes, unpacked, and says so at most twice a second."""

    def __init__(self, out: TextIO) -> None:
        self.out, self.part = out, ""
        self.done = self.total = 0
        self.said = time.monotonic()

    def say(self, **line: Any) -> None:
        """Writes one line of JSON."""
        print(json.dumps(line), file=self.out, flush=True)

    def add(self, count: int) -> None:
        """count more bytes have been read."""
        self.done += count
        if time.monotonic() - self.said >= 0.5:
            self.said = time.monotonic()
            self.say(progress={"part": self.part, "done": self.done, "total": max(self.total, self.done)})
