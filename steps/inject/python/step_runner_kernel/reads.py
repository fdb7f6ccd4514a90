"""What a process has read, told in a file."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from step_runner_kernel.shapes import Shape

MOST_READS = 200


class Receipt:
    """What this process has read."""

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, f"reads-{os.getpid()}-{time.time_ns()}.json")
        self.pid = os.getpid()
        self.modules: list[str] = []
        self.reads: list[dict[str, Any]] = []
        self.error = ""

    def read(self, path: str, reader: str, way: str, before: Shape, after: Shape, error: str) -> None:
        entry = {
            "path": path,
            "reader": reader,
            "way": way,
            "before": {"cells": before[0], "genes": before[1]},
            "after": {"cells": after[0], "genes": after[1]},
            "error": error,
        }
        if entry in self.reads:
            return
        # What was read at full size is told however much there is.
        if len(self.reads) < MOST_READS or way == "full" and len(self.reads) < 2 * MOST_READS:
            self.reads.append(entry)
            self.write()

    def write(self) -> None:
        if os.getpid() != self.pid:  # A fork tells of itself in a file of its own.
            self.pid = os.getpid()
            self.path = os.path.join(
                os.path.dirname(self.path), f"reads-{self.pid}-{time.time_ns()}.json"
            )
        content = {"pid": self.pid, "argv": list(getattr(sys, "orig_argv", []))}
        content |= {"modules": self.modules, "reads": self.reads, "error": self.error}
        part = f"{self.path}.{threading.get_ident()}.part"
        with open(part, "w", encoding="utf-8") as f:
            json.dump(content, f)
        os.replace(part, self.path)
