"""What one process did with GPU memory, for the runner to read."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from step_runner_kernel.policy import Policy


MOST_OVERRIDES = 20


@dataclass
class Override:
    """A call of the program's own that the policy let through, in part or whole."""

    call: str
    asked: dict[str, Any]
    applied: dict[str, Any]


@dataclass
class Receipt:
    """State is "importing" until the policy is applied, then "applied" or "failed";
    "absent" says that rmm is not installed though the policy needs it.

    Bytes and allocation counts are those that went through RMM; the peak is that of
    the device that had the highest.
    """

    policy: Policy
    state: str = "importing"
    rmm: str = ""
    devices: list[int] = field(default_factory=list)
    resource: str = ""
    initial_pool_bytes: int | None = None
    maximum_pool_bytes: int | None = None
    allocators: list[str] = field(default_factory=list)
    # The first calls only, and how many there were: a program may call in a loop.
    overrides: list[Override] = field(default_factory=list)
    override_count: int = 0
    peak_bytes: int = 0
    allocations: int = 0
    error: str = ""
    no_gpu: bool = False
    # With the id it names the process: ids come again.
    born_ns: int = field(default_factory=time.time_ns)

    def write(self) -> None:
        """Replaces this process's receipt, whole or not at all."""
        content = asdict(self)
        content["policy"].pop("receipts")
        content |= {"pid": os.getpid(), "argv": list(getattr(sys, "orig_argv", []))}
        path = os.path.join(self.policy.receipts, f"rmm-{os.getpid()}-{self.born_ns}.json")
        part = f"{path}.part"
        with open(part, "w", encoding="utf-8") as f:
            json.dump(content, f)
        os.replace(part, path)
