"""pytest plugin of step-runner: says how many tests were selected and ended, and
what pytest made of it before any other plugin could change the exit code."""
import json
import os

import pytest

PATH = os.environ.get("STEP_RUNNER_PYTEST_RECEIPT")
selected, ended = set(), set()


def pytest_collection_finish(session):
    selected.update(item.nodeid for item in session.items)


def pytest_runtest_logfinish(nodeid, location):
    ended.add(nodeid)


def pytest_runtest_logreport(report):
    # Some plugins run tests in a way of their own, without the hook above.
    if report.when == "teardown":
        ended.add(report.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session, exitstatus):
    if PATH and not hasattr(session.config, "workerinput"):
        # With pytest-xdist the tests are collected by the workers only.
        count = len(selected) or session.testscollected
        with open(PATH, "w") as f:
            json.dump({"status": int(exitstatus), "selected": count, "ended": len(ended)}, f)
