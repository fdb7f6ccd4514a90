"""Runs papermill's own command line and writes down how it ended.

usage: launch.py OUTCOME PAPERMILL-ARGUMENT...

papermill's exit code does not say what killed a kernel, in which cell, or which
exception ended papermill itself; the output notebook calls every cell completed
after a kernel's death. OUTCOME, a JSON object, says it; see launch.go.

Three repairs are made on the way, each in this process only:

- A kernel that is interrupted outside the cell's own code can lose its reply,
  and papermill then waits for ever. A kernel is idle only after it has replied:
  one that is idle and still owes the reply has lost it.
- A kernel with much to print gets more than nbclient's four seconds to do so.
- The output notebook is replaced in one step: a reader, or a kill in the middle
  of a save, never meets half of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

IDLE_TICKS = 10  # seconds that an idle kernel may still owe a reply
IOPUB_TIMEOUT = 60  # seconds that output may still come in after the reply
LOST_REPLY = "the kernel was interrupted and has lost its reply"


class Outcome:
    """How papermill ended, as far as it is known by now."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fields: dict[str, Any] = {
            "error": "",
            "message": "",
            "missing_tool": False,
            "unanswered_cell": None,
            "asked_exit_cell": None,
            "error_replies": [],
            "kernel_exit": None,
        }

    def set(self, **fields: Any) -> None:
        self.fields.update(fields)

    def failed(self, error: BaseException) -> None:
        kind = type(error)
        self.set(error=f"{kind.__module__}.{kind.__qualname__}", message=str(error)[-4000:])

    def answered(self, cell: int, reply: dict[str, Any]) -> None:
        self.set(unanswered_cell=None)
        if any(p.get("source") == "ask_exit" for p in reply.get("payload", [])):
            self.set(asked_exit_cell=cell)
        if reply["status"] == "error":
            # An interrupted kernel can lose the output that would show the error.
            error = {"cell": cell, "name": reply.get("ename", ""), "value": reply.get("evalue", "")}
            self.fields["error_replies"].append(error)

    def write(self) -> None:
        # Kept free by the runner, so that a full disk can be told of.
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path + ".reserve")
        replace(json.dumps(self.fields), self.path)


def replace(text: str, path: str) -> None:
    part = path + ".part"
    # What lies there may be of any kind: opening a pipe would wait for its reader.
    with contextlib.suppress(FileNotFoundError):
        os.remove(part)
    # A lone surrogate, which a cell can print, must not cost the notebook.
    with open(part, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
    os.replace(part, path)


def watching_client(outcome: Outcome) -> type:
    """papermill's client, which also tells outcome what it sees."""
    from nbclient.exceptions import DeadKernelError
    from nbformat.v4 import new_output
    from papermill.clientwrap import PapermillNotebookClient

    class Client(PapermillNotebookClient):
        def __init__(self, nb_man: Any, **options: Any) -> None:
            options.setdefault("iopub_timeout", IOPUB_TIMEOUT)
            super().__init__(nb_man, **options)

        async def _async_check_alive(self) -> None:
            try:
                await super()._async_check_alive()
            except DeadKernelError:
                provisioner = getattr(self.km, "provisioner", None)
                if provisioner is not None:
                    outcome.set(kernel_exit=await provisioner.poll())
                raise

        async def _async_poll_for_reply(
            self, msg_id: str, cell: Any, timeout: Any, outputs: asyncio.Future, alive: asyncio.Future
        ) -> dict[str, Any]:
            index = next(i for i, c in enumerate(self.nb.cells) if c is cell)
            outcome.set(unanswered_cell=index)
            wait = super()._async_poll_for_reply(msg_id, cell, timeout, outputs, alive)
            reply = asyncio.ensure_future(wait)
            try:
                await asyncio.wait({reply, outputs}, return_when=asyncio.FIRST_COMPLETED)
                for _ in range(IDLE_TICKS):
                    if reply.done() or not is_idle(outputs):
                        break
                    await asyncio.wait({reply}, timeout=1)
                if not reply.done() and is_idle(outputs):
                    alive.cancel()
                    message = self._lost(cell)
                else:
                    message = await reply
            finally:
                reply.cancel()
            outcome.answered(index, message["content"])
            return message

        def _lost(self, cell: Any) -> dict[str, Any]:
            self.log.error(LOST_REPLY)
            error = {"ename": "KeyboardInterrupt", "evalue": LOST_REPLY, "traceback": []}
            cell.outputs.append(new_output("error", **error))
            return {"content": {"status": "error", **error}}

    return Client


def is_idle(outputs: asyncio.Future) -> bool:
    """Says whether the cell's output has come to its end: the kernel is idle."""
    return outputs.done() and not outputs.cancelled() and outputs.exception() is None


def watched(execute: Any, outcome: Outcome) -> Any:
    def execute_notebook(**options: Any) -> Any:
        try:
            return execute(**options)
        except BaseException as error:
            outcome.failed(error)
            raise

    return execute_notebook


def main() -> None:
    outcome = Outcome(sys.argv[1])
    sys.argv[:] = ["papermill", *sys.argv[2:]]
    try:
        try:
            from papermill import cli, engines, iorw

            engines.PapermillNotebookClient = watching_client(outcome)
        except ImportError as error:
            outcome.failed(error)
            outcome.set(missing_tool=True)
            raise
        iorw.LocalHandler.write = lambda _, text, path: replace(text, path)
        cli.execute_notebook = watched(cli.execute_notebook, outcome)
        cli.papermill()
    finally:
        outcome.write()


main()
