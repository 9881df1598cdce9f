"""`unlimited`: no capacity limit, every read split between both memories as suits it best.

Not a schedule but a closed form, below every schedule's time. Source: arXiv 2508.13231.
"""

from typing import ClassVar


class Unlimited:
    """A marker: there is nothing to decide."""

    name: ClassVar[str] = "unlimited"
    ahead_tokens = 0
