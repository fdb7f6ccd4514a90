import os
from dataclasses import dataclass

from rmm._cuda import gpu

FREE = 80 * 2**30
_resources = {}


@dataclass
class Statistics:
    current_bytes: int = 0
    peak_bytes: int = 0
    total_count: int = 0


class CudaMemoryResource:
    def allocate(self, n):
        return n

    def deallocate(self, n):
        pass


class ManagedMemoryResource(CudaMemoryResource):
    pass


class CudaAsyncMemoryResource(CudaMemoryResource):
    def __init__(self, initial_pool_size=None):
        self.initial_pool_size = initial_pool_size


class UpstreamResourceAdaptor(CudaMemoryResource):
    def __init__(self, upstream_mr):
        self.upstream_mr = upstream_mr

    def allocate(self, n):
        return self.upstream_mr.allocate(n)

    def deallocate(self, n):
        self.upstream_mr.deallocate(n)


class PoolMemoryResource(UpstreamResourceAdaptor):
    def __init__(self, upstream_mr, initial_pool_size=None, maximum_pool_size=None):
        super().__init__(upstream_mr)
        self.initial, self.maximum = initial_pool_size, maximum_pool_size
        for size in (self.initial, self.maximum):
            if size is not None and size % 256:
                raise RuntimeError("pool sizes must be multiples of 256")


class LimitingResourceAdaptor(UpstreamResourceAdaptor):
    def __init__(self, upstream_mr, allocation_limit):
        super().__init__(upstream_mr)
        self.limit, self.used = allocation_limit, 0

    def get_allocation_limit(self):
        return self.limit

    def allocate(self, n):
        if self.used + n > self.limit:
            raise MemoryError(f"std::bad_alloc: Exceeded memory limit {self.limit}")
        self.used += n
        return super().allocate(n)

    def deallocate(self, n):
        self.used -= n
        super().deallocate(n)


class StatisticsResourceAdaptor(UpstreamResourceAdaptor):
    def __init__(self, upstream_mr):
        super().__init__(upstream_mr)
        self.allocation_counts = Statistics()

    def allocate(self, n):
        super().allocate(n)
        c = self.allocation_counts
        c.current_bytes += n
        c.peak_bytes = max(c.peak_bytes, c.current_bytes)
        c.total_count += 1
        return n

    def deallocate(self, n):
        super().deallocate(n)
        self.allocation_counts.current_bytes -= n


def available_device_memory():
    return FREE, FREE


def set_per_device_resource(device, resource):
    if os.environ.get("FAKE_RMM_BROKEN"):
        raise AttributeError("'CUDARuntimeError' object has no attribute 'msg'")
    _resources[device] = resource


def get_per_device_resource(device):
    return _resources.setdefault(device, CudaMemoryResource())


def set_current_device_resource(resource):
    set_per_device_resource(gpu.getDevice(), resource)


def get_current_device_resource():
    return get_per_device_resource(gpu.getDevice())
