"""`static`: new blocks fill HBM until it is full, later ones go to DRAM; nothing moves.

Source: arXiv 2508.13231, the baseline of its evaluation.
"""

from hmsim.placement.policies.api import Policy, policy_step


@policy_step
def step(now, hbm, own, moves):
    """No moves; newborns go to HBM while there is room, as is the default."""


class Static(Policy):
    """First come, first served."""

    name = "static"
    step = step
