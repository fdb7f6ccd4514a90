"""The hook in real Python processes, on a stand-in for rmm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "python"
GIB = 2**30


class Process:
    """One Python process under a policy: what it printed, and its receipts."""

    def __init__(self, tmp_path: Path) -> None:
        self.dir = tmp_path
        self.env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self.path = [str(PACKAGE), str(HERE / "fake")]

    def policy(self, **policy: Any) -> Process:
        file = self.dir / "policy.json"
        file.write_text(json.dumps({"receipts": str(self.dir), "mode": "pool", **policy}))
        self.env["STEP_RUNNER_RMM_POLICY"] = str(file)
        return self

    def run(self, code: str, ok: bool = True, flags: tuple[str, ...] = ()) -> str:
        self.env["PYTHONPATH"] = os.pathsep.join(self.path)
        done = subprocess.run(
            [sys.executable, *flags, "-c", code],
            env=self.env, capture_output=True, text=True, timeout=60,
        )
        assert (done.returncode == 0) == ok, done.stderr
        return done.stdout + done.stderr

    def receipts(self) -> list[dict[str, Any]]:
        return [json.loads(p.read_text()) for p in sorted(self.dir.glob("rmm-*.json"))]

    def receipt(self) -> dict[str, Any]:
        [receipt] = self.receipts()
        return receipt


@pytest.fixture
def process(tmp_path: Path) -> Process:
    return Process(tmp_path)


def test_switched_off_it_does_nothing(process: Process) -> None:
    out = process.run("import sys, rmm; print([m for m in sys.modules if 'step_runner' in m])")
    assert out.strip() == "[]"
    assert process.receipts() == []


def test_imports_nothing_that_the_program_did_not(process: Process) -> None:
    out = process.policy(allocators=["cupy", "torch"]).run(
        "import sys; print('rmm' in sys.modules, 'cupy' in sys.modules)"
    )
    assert out.strip() == "False False"
    assert process.receipts() == []


def test_policy_is_applied_at_import(process: Process) -> None:
    process.policy(initial_pool_bytes=GIB, limit_bytes=2 * GIB).run(
        "import rmm; mr = rmm.mr.get_current_device_resource(); mr.allocate(100); mr.allocate(50)"
    )
    r = process.receipt()
    assert r["state"] == "applied"
    assert r["resource"] == "statistics(limiting(pool(cuda)))"
    assert (r["initial_pool_bytes"], r["maximum_pool_bytes"]) == (GIB, 2 * GIB)
    assert (r["peak_bytes"], r["allocations"]) == (150, 2)


@pytest.mark.parametrize(
    ("mode", "resource"), [("async", "cudaasync"), ("managed", "managed"), ("cuda", "cuda")]
)
def test_modes(process: Process, mode: str, resource: str) -> None:
    process.policy(mode=mode).run("import rmm")
    assert process.receipt()["resource"] == f"statistics({resource})"


def test_default_pool_is_bounded_by_the_limit(process: Process) -> None:
    process.policy(limit_bytes=GIB + 1).run("import rmm")
    r = process.receipt()
    assert (r["initial_pool_bytes"], r["maximum_pool_bytes"]) == (GIB, GIB)


def test_programs_own_reinitialize_is_clamped(process: Process) -> None:
    out = process.policy(limit_bytes=GIB).run(
        "import rmm\n"
        "rmm.mr.get_current_device_resource().allocate(7)\n"
        "rmm.reinitialize(pool_allocator=True, devices=[0, 1])\n"
        "m = rmm.mr.get_current_device_resource()\n"
        "m.allocate(5)\n"
        "print(type(m).__name__, type(m.upstream_mr).__name__, m.upstream_mr.upstream_mr.initial)"
    )
    assert out.split() == ["StatisticsResourceAdaptor", "LimitingResourceAdaptor", str(GIB)]
    r = process.receipt()
    assert (r["peak_bytes"], r["allocations"]) == (7, 2)
    [override] = r["overrides"]
    assert override["call"] == "reinitialize"
    assert override["asked"] == {"pool_allocator": True, "devices": [0, 1]}
    assert override["applied"] == {"pool_allocator": True, "devices": [0]}


def test_a_pool_without_a_first_size_gets_the_policys(process: Process) -> None:
    process.policy(initial_pool_bytes=GIB, limit_bytes=4 * GIB).run(
        "import rmm; rmm.reinitialize(pool_allocator=True)"
    )
    r = process.receipt()
    assert (r["initial_pool_bytes"], r["maximum_pool_bytes"]) == (GIB, 4 * GIB)


def test_sizes_in_words_are_understood(process: Process) -> None:
    process.policy(limit_bytes=4 * GIB).run(
        "import rmm; rmm.reinitialize(pool_allocator=True, initial_pool_size='2GiB')"
    )
    assert process.receipt()["initial_pool_bytes"] == 2 * GIB


def test_maximum_pool_bounds_the_programs_own(process: Process) -> None:
    process.policy(maximum_pool_bytes=GIB).run("import rmm; rmm.reinitialize(pool_allocator=True)")
    r = process.receipt()
    assert (r["initial_pool_bytes"], r["maximum_pool_bytes"]) == (GIB, GIB)


def test_unbounded_pool_is_rmms_own_default(process: Process) -> None:
    process.policy().run("import rmm; rmm.reinitialize(pool_allocator=True)")
    r = process.receipt()
    assert (r["initial_pool_bytes"], r["maximum_pool_bytes"]) == (None, None)


def test_a_loop_of_calls_is_counted(process: Process) -> None:
    process.policy().run("import rmm\nfor _ in range(50): rmm.reinitialize()")
    r = process.receipt()
    assert (len(r["overrides"]), r["override_count"]) == (20, 50)


def test_limit_holds_after_reinitialize(process: Process) -> None:
    out = process.policy(limit_bytes=GIB).run(
        "import rmm; rmm.reinitialize(managed_memory=True)\n"
        "rmm.mr.get_current_device_resource().allocate(2**30 + 1)",
        ok=False,
    )
    assert "std::bad_alloc" in out


def test_a_resource_of_the_programs_own_keeps_limit_and_statistics(process: Process) -> None:
    process.policy(limit_bytes=GIB).run(
        "import rmm; rmm.mr.set_current_device_resource(rmm.mr.CudaAsyncMemoryResource())\n"
        "rmm.mr.get_current_device_resource().allocate(3)"
    )
    r = process.receipt()
    assert r["resource"] == "statistics(limiting(cudaasync))"
    assert r["peak_bytes"] == 3
    assert r["overrides"][0]["call"] == "set_per_device_resource"


def test_a_resource_put_back_is_not_wrapped_twice(process: Process) -> None:
    process.policy(limit_bytes=GIB).run(
        "import rmm; old = rmm.mr.get_current_device_resource(); old.allocate(9)\n"
        "rmm.mr.set_current_device_resource(rmm.mr.CudaMemoryResource())\n"
        "rmm.mr.set_current_device_resource(old)"
    )
    r = process.receipt()
    assert r["resource"] == "statistics(limiting(pool(cuda)))"
    assert r["peak_bytes"] == 9


def test_every_visible_device_has_the_policy(process: Process) -> None:
    process.env["FAKE_GPUS"] = "2"
    out = process.policy().run(
        "import rmm; print(type(rmm.mr.get_per_device_resource(1)).__name__)"
    )
    assert out.strip() == "StatisticsResourceAdaptor"
    assert process.receipt()["devices"] == [0, 1]


@pytest.mark.parametrize("env", [{"FAKE_GPUS": "0"}, {"FAKE_RMM_BROKEN": "1"}])
def test_no_gpu_is_a_failure_that_names_itself(process: Process, env: dict[str, str]) -> None:
    process.env |= env
    out = process.policy().run("import rmm", ok=False)
    assert "step-runner: the RMM policy could not be applied" in out
    r = process.receipt()
    assert (r["state"], r["no_gpu"]) == ("failed", True)


def test_unreadable_policy_is_told_by_a_receipt(process: Process) -> None:
    file = process.dir / "policy.json"
    file.write_text("{")
    process.env["STEP_RUNNER_RMM_POLICY"] = str(file)
    process.run("pass")
    assert process.receipt()["state"] == "failed"


@pytest.mark.parametrize("order", ["import rmm, cupy", "import cupy, rmm", "import cupy"])
def test_cupy_allocates_through_rmm(process: Process, order: str) -> None:
    process.policy(allocators=["cupy"]).run(f"{order}\nimport cupy; cupy.cuda.allocator(11)")
    r = process.receipt()
    assert r["allocators"] == ["cupy"]
    assert r["peak_bytes"] == 11


def test_cupy_is_left_alone_when_not_asked_for(process: Process) -> None:
    out = process.policy().run("import cupy, rmm; print(cupy.cuda.allocator)")
    assert out.strip() == "None"


def test_cupy_without_rmm_is_told(process: Process) -> None:
    (process.dir / "lib").mkdir()
    (process.dir / "lib" / "cupy").symlink_to(HERE / "fake" / "cupy")
    process.path = [str(PACKAGE), str(process.dir / "lib")]
    process.policy(allocators=["cupy"]).run("import cupy")
    assert process.receipt()["state"] == "absent"


def test_children_are_reached(process: Process) -> None:
    process.policy().run(
        "import subprocess, sys, rmm; subprocess.run([sys.executable, '-c', 'import rmm'], check=True)"
    )
    assert [r["state"] for r in process.receipts()] == ["applied", "applied"]


def test_hidden_sitecustomize_still_runs(process: Process, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('the distribution was here')")
    process.path.append(str(tmp_path))
    assert "the distribution was here" in process.policy().run("pass")


def test_spawned_workers_are_reached(process: Process) -> None:
    """As Dask starts its workers."""
    process.policy().run(
        "from concurrent.futures import ProcessPoolExecutor as Pool; import multiprocessing as m\n"
        "with Pool(1, mp_context=m.get_context('spawn')) as p:\n"
        "    p.submit(exec, 'import rmm').result()"
    )
    assert process.receipt()["state"] == "applied"


def test_isolated_python_leaves_no_receipt(process: Process) -> None:
    """The runner must not take this for success: there is no receipt at all."""
    process.policy().run("pass", flags=("-I",))
    assert process.receipts() == []


def test_module_sees_its_own_loader(process: Process) -> None:
    out = process.policy().run("import rmm; print(type(rmm.__loader__).__module__, rmm.__spec__.loader)")
    assert "step_runner" not in out
