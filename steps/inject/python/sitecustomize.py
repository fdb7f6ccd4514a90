"""Python runs this at start-up in every process that inherits our PYTHONPATH.

It first runs the sitecustomize that it hides, then arms the import hooks that
the environment asks for. It imports nothing that the program did not ask for,
and an error here must never stop a Python from starting: it is reported where
the runner looks, and the step fails there.
"""

import os
import sys


def _chain() -> None:
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    here = os.path.dirname(os.path.abspath(__file__))
    rest = [p for p in sys.path if os.path.abspath(p or ".") != here]
    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        spec.loader.exec_module(module)


try:
    _chain()
finally:
    if os.environ.get("STEP_RUNNER_RMM_POLICY"):
        from step_runner_kernel import rmm_hook

        rmm_hook.arm(os.environ["STEP_RUNNER_RMM_POLICY"])
    if os.environ.get("STEP_RUNNER_SUBSAMPLE"):
        from step_runner_kernel import readers

        readers.arm(os.environ["STEP_RUNNER_SUBSAMPLE"])
