"""pytest plugin of step-runner: says how many tests were selected and ended, and
what pytest made of it before any other plugin could change the exit code."""
import json
import os

import pytest

PATH = os.environ.get("STEP_RUNNER_PYTEST_RECEIPT")
ended = set()


def pytest_runtest_logfinish(nodeid, location):
    ended.add(nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session, exitstatus):
    if PATH and not hasattr(session.config, "workerinput"):
        with open(PATH, "w") as f:
            json.dump({"status": int(exitstatus), "selected": session.testscollected, "ended": len(ended)}, f)
