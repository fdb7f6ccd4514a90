class cuda:
    allocator = None

    @classmethod
    def set_allocator(cls, allocator):
        cls.allocator = allocator
