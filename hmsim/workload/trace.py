"""A trace file as a Workload."""
class TraceWorkload:
    def __init__(self, path): raise NotImplementedError
