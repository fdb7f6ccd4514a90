"""A stand-in for rmm with its public shape: it moves numbers, not memory."""

from rmm import mr
from rmm._cuda import gpu

__version__ = "0.fake"


def reinitialize(
    pool_allocator=False,
    managed_memory=False,
    initial_pool_size=None,
    maximum_pool_size=None,
    devices=0,
    logging=False,
    log_file_name=None,
):
    for device in [devices] if isinstance(devices, int) else devices:
        if device >= gpu.getDeviceCount():
            raise RuntimeError("cudaErrorInvalidDevice")
        base = mr.ManagedMemoryResource() if managed_memory else mr.CudaMemoryResource()
        if pool_allocator:
            base = mr.PoolMemoryResource(base, initial_pool_size, maximum_pool_size)
        mr.set_per_device_resource(device, base)
