"""Applies the memory policy when a program imports rmm, and keeps it applied."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from step_runner_kernel import lazy, policy
from step_runner_kernel.receipt import MOST_OVERRIDES, Override, Receipt


def arm(path: str) -> None:
    """Makes the policy in the file path apply to this process once it imports rmm.

    A policy that cannot be read is told by a receipt beside the policy file: the
    process goes on, the runner fails the step.
    """
    try:
        Manager(policy.load(path)).arm()
    except Exception as e:
        broken = policy.Policy(receipts=os.path.dirname(path), mode="cuda")
        Receipt(broken, state="failed", error=f"policy {path}: {e!r}").write()


class Manager:
    """Holds the policy of this process over the life of its memory resources."""

    def __init__(self, p: policy.Policy) -> None:
        self.policy = p
        self.receipt = Receipt(p)
        self._rmm: Any = None
        self._set_device: Callable[[int, Any], None] = lambda *_: None
        self._in_rmm = False
        # The topmost resource of each device, and what the replaced ones had counted.
        self._stats: dict[int, Any] = {}
        self._peak = 0
        self._allocations = 0

    def arm(self) -> None:
        """Waits for imports; imports nothing."""
        lazy.after_import("rmm", self._rmm_imported)
        if "cupy" in self.policy.allocators:
            lazy.after_import("cupy", self._library_imported)
        if "torch" in self.policy.allocators:
            lazy.after_import("torch", self._library_imported)

    def _rmm_imported(self, rmm: ModuleType) -> None:
        self._rmm = rmm
        self.receipt.rmm = str(getattr(rmm, "__version__", ""))
        self.receipt.write()
        try:
            self._apply()
        except Exception as e:
            self.receipt.state = "failed"
            # rmm dresses "no CUDA device" as this AttributeError.
            self.receipt.no_gpu = "no attribute 'msg'" in str(e) or "NoDevice" in str(e)
            self.receipt.error = f"{type(e).__name__}: {e}"
            self.receipt.write()
            raise RuntimeError(f"step-runner: the RMM policy could not be applied: {e}") from e
        self.receipt.state = "applied"
        self.receipt.write()
        atexit.register(self._settle)
        self._after_each_cell()

    def _apply(self) -> None:
        mr = self._rmm.mr
        self._set_device = mr.set_per_device_resource
        self.receipt.devices = list(range(_device_count()))
        if not self.receipt.devices:
            raise RuntimeError("cudaErrorNoDevice: no CUDA device is visible")
        for device in self.receipt.devices:
            with _on(device):
                self._install(device, self._resource())
        original = self._rmm.reinitialize
        self._rmm.reinitialize = self._reinitialize(original)
        if "rmm.rmm" in sys.modules:  # Where it is defined, and may be imported from.
            sys.modules["rmm.rmm"].reinitialize = self._rmm.reinitialize  # type: ignore[attr-defined]
        mr.set_per_device_resource = self._set_per_device_resource
        mr.set_current_device_resource = self._set_current_device_resource
        for name in ("cupy", "torch"):
            if name in self.policy.allocators and name in sys.modules:
                self._point(name)

    def _resource(self) -> Any:
        mr, p = self._rmm.mr, self.policy
        if p.mode == "cuda":
            return mr.CudaMemoryResource()
        if p.mode == "managed":
            return mr.ManagedMemoryResource()
        if p.mode == "async":
            size = p.pool_sizes(p.initial_pool_bytes or 0, None, 0)[0]
            return mr.CudaAsyncMemoryResource(initial_pool_size=size or None)
        initial, maximum = p.pool_sizes(
            p.initial_pool_bytes, p.maximum_pool_bytes, mr.available_device_memory()[0]
        )
        self.receipt.initial_pool_bytes, self.receipt.maximum_pool_bytes = initial, maximum
        return mr.PoolMemoryResource(
            mr.CudaMemoryResource(), initial_pool_size=initial, maximum_pool_size=maximum
        )

    def _install(self, device: int, resource: Any) -> None:
        """Puts the limit and, topmost, the statistics on resource."""
        mr = self._rmm.mr
        self._retire(device)
        limit = self.policy.limit_bytes
        if limit is not None and not self._within(resource, limit):
            resource = mr.LimitingResourceAdaptor(resource, limit)
        # A program that puts a resource of ours back brings the statistics with it.
        if not isinstance(resource, mr.StatisticsResourceAdaptor):
            resource = mr.StatisticsResourceAdaptor(resource)
        self._set_device(device, resource)
        self._stats[device] = resource
        self.receipt.resource = _name(resource)

    def _within(self, resource: Any, limit: int) -> bool:
        while resource is not None:
            if isinstance(resource, self._rmm.mr.LimitingResourceAdaptor):
                if resource.get_allocation_limit() <= limit:
                    return True
            resource = getattr(resource, "upstream_mr", None)
        return False

    def _reinitialize(self, original: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(original)

        def reinitialize(*args: Any, **kwargs: Any) -> None:
            bound = signature.bind(*args, **kwargs)
            asked = dict(bound.arguments)
            bound.apply_defaults()
            wish = bound.arguments
            wish["devices"] = self._clamp(wish["devices"])
            if wish["pool_allocator"]:
                free = self._rmm.mr.available_device_memory()[0]
                wish["initial_pool_size"], wish["maximum_pool_size"] = self.policy.pool_sizes(
                    policy.parse_bytes(wish["initial_pool_size"]),
                    policy.parse_bytes(wish["maximum_pool_size"]),
                    free,
                )
                self.receipt.initial_pool_bytes = wish["initial_pool_size"]
                self.receipt.maximum_pool_bytes = wish["maximum_pool_size"]
            # Our adaptors must let go of the old resources before rmm replaces them.
            for device in list(self._stats):
                self._retire(device)
            # rmm itself may use the setters that we replaced.
            self._in_rmm = True
            try:
                original(**wish)
            finally:
                self._in_rmm = False
            for device in wish["devices"]:
                self._install(device, self._rmm.mr.get_per_device_resource(device))
            applied = {k: wish[k] for k in asked} | {"devices": wish["devices"]}
            self._overridden("reinitialize", asked, applied)

        reinitialize.__doc__ = original.__doc__
        return reinitialize

    def _clamp(self, devices: int | list[int] | tuple[int, ...]) -> list[int]:
        wanted = [devices] if isinstance(devices, int) else list(devices)
        return [d for d in wanted if d in self.receipt.devices] or self.receipt.devices[:1]

    def _set_per_device_resource(self, device: int, resource: Any) -> None:
        if self._in_rmm:
            self._set_device(device, resource)
            return
        self._install(device, resource)
        call = {"device": device, "resource": _name(resource)}
        self._overridden("set_per_device_resource", call, {"resource": self.receipt.resource})

    def _set_current_device_resource(self, resource: Any) -> None:
        self._set_per_device_resource(_current_device(), resource)

    def _overridden(self, call: str, asked: dict[str, Any], applied: dict[str, Any]) -> None:
        self.receipt.override_count += 1
        if len(self.receipt.overrides) < MOST_OVERRIDES:
            self.receipt.overrides.append(Override(call, _plain(asked), _plain(applied)))
        self.receipt.write()

    def _library_imported(self, library: ModuleType) -> None:
        if importlib.util.find_spec("rmm") is None:
            self.receipt.state = "absent"
            self.receipt.error = f"{library.__name__} is imported, and rmm is not installed"
            self.receipt.write()
            return
        if self._rmm is None:
            # Importing rmm applies the policy; this library is in sys.modules by now.
            importlib.import_module("rmm")
        else:
            self._point(library.__name__)

    def _point(self, name: str) -> None:
        """Makes the library allocate through RMM."""
        if name in self.receipt.allocators:
            return
        if name == "cupy":
            from rmm.allocators.cupy import rmm_cupy_allocator

            sys.modules["cupy"].cuda.set_allocator(rmm_cupy_allocator)
        else:
            from rmm.allocators.torch import rmm_torch_allocator

            sys.modules["torch"].cuda.memory.change_current_allocator(rmm_torch_allocator)
        self.receipt.allocators.append(name)
        self.receipt.write()

    def _after_each_cell(self) -> None:
        """A kernel that dies runs no atexit: its receipt is as new as its last cell."""
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython is not None else None
        if shell is not None:
            shell.events.register("post_run_cell", lambda *_: self._settle())

    def _settle(self) -> None:
        live = [r.allocation_counts for r in self._stats.values()]
        self.receipt.peak_bytes = max([self._peak, *(c.peak_bytes for c in live)])
        self.receipt.allocations = self._allocations + sum(c.total_count for c in live)
        self.receipt.write()

    def _retire(self, device: int) -> None:
        """Lets go of our adaptor on device and keeps what it counted."""
        resource = self._stats.pop(device, None)
        if resource is not None:
            seen = resource.allocation_counts
            self._peak = max(self._peak, seen.peak_bytes)
            self._allocations += seen.total_count


def _device_count() -> int:
    from rmm._cuda.gpu import getDeviceCount

    return int(getDeviceCount())


def _current_device() -> int:
    from rmm._cuda.gpu import getDevice

    return int(getDevice())


@contextlib.contextmanager
def _on(device: int) -> Iterator[None]:
    """A resource belongs to the device that is current when it is made."""
    from rmm._cuda.gpu import setDevice

    before = _current_device()
    setDevice(device)
    try:
        yield
    finally:
        setDevice(before)


def _name(resource: Any) -> str:
    """What a resource is made of, outermost first: "statistics(limiting(pool(cuda)))"."""
    name = type(resource).__name__.replace("MemoryResource", "").replace("ResourceAdaptor", "")
    upstream = getattr(resource, "upstream_mr", None)
    return f"{name.lower()}({_name(upstream)})" if upstream is not None else name.lower()


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        k: v if isinstance(v, (bool, int, str, list, type(None))) else str(v)
        for k, v in values.items()
    }
