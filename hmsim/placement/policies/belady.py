"""`belady`: what is used furthest in the future goes first; beyond foresight, the least recently
used.

At every step, of the step's lane: a block that was read from DRAM and that one of the lane's next
`window` visits reads is promoted, the soonest needed first (then the lowest slot), as long as
capacity is left, or for the resident needed last: first those that no known visit needs, the least
recently used first, then those needed furthest ahead, as long as that is later than the newcomer.
Residents of all layers may make place (`belady_all.py`), or of the step's own (`belady_layer.py`).
Source: L. A. Belady, "A study of replacement algorithms for a virtual-storage computer", IBM
Systems Journal 5(2), 1966; with a window, and with leave to pass a block by.
"""

from hmsim.placement.policies.api import Policy
from hmsim.placement.policies.scope import check_scope, check_window


class Belady(Policy):
    """Furthest next use within `window` tokens.

    Args:
        window: How many tokens ahead it looks, 1 to 4096.
        scope: Which residents may make place: `all`, or those of the step's own `layer`.
    """

    name = "belady"

    def __init__(self, window: int = 8, scope: str = "all"):
        check_window(self.name, window)
        check_scope(self.name, scope)
        self.ahead_tokens, self._scope = window, scope
        if scope == "all":  # a run compiles the one that it uses
            from hmsim.placement.policies.belady_all import step
        else:
            from hmsim.placement.policies.belady_layer import step
        self.step = step

    def own(self, geometry, capacity, rates, resident):
        if self._scope == "all":
            from hmsim.placement.policies.belady_all import memory

            return memory(geometry, capacity, rates, resident, self.ahead_tokens)
        from hmsim.placement.policies import belady_layer

        return belady_layer.memory(geometry, self.ahead_tokens)
