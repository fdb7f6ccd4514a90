from rmm import mr


def rmm_cupy_allocator(n):
    return mr.get_current_device_resource().allocate(n)
