"""`lookahead`: the blocks that the next `window` tokens read most often come in first.

At every step, of the step's lane: collect the blocks that its next `window` visits read and that
are not in HBM, rank them by how often they are read (then by slot), and promote the top `share`, as
long as capacity is left, or for residents that none of the known visits reads: of the same layer
(`lookahead_layer.py`) or of all of HBM (`lookahead_all.py`).
Source: arXiv 2508.13231 section 4, the heuristic under its simulated annealing (see `sa`).
"""

from hmsim.errors import InputError
from hmsim.placement.policies.api import Policy
from hmsim.placement.policies.scope import check_scope, check_window


class Lookahead(Policy):
    """`window` tokens of perfect foresight; the top `share` of what they miss is moved.

    Args:
        window: How many tokens ahead it looks, 1 to 4096.
        share: Of the blocks that are missing, 0 to 1.
        scope: Which residents may make place: those of the step's own `layer`, or `all`.
    """

    name = "lookahead"

    def __init__(self, window: int = 1, share: float = 1.0, scope: str = "layer"):
        check_window(self.name, window)
        check_scope(self.name, scope)
        if not (isinstance(share, int | float) and 0 <= share <= 1):
            raise InputError(f"policy {self.name}: share: {share!r}: from 0 to 1")
        self.ahead_tokens, self.share, self._scope = window, float(share), scope
        if scope == "all":  # a run compiles the one that it uses
            from hmsim.placement.policies.lookahead_all import step
        else:
            from hmsim.placement.policies.lookahead_layer import step
        self.step = step

    def own(self, geometry, capacity, rates, resident):
        if self._scope == "all":
            from hmsim.placement.policies.lookahead_all import memory

            return memory(geometry, capacity, rates, resident, self.ahead_tokens, self.share)
        from hmsim.placement.policies import lookahead_layer

        return lookahead_layer.memory(geometry, self.ahead_tokens, self.share)
