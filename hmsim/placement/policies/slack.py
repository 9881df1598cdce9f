"""`reactive` as long as the moves of a step do not make it longer, or pay back later, by the latency
model of the run and a barrier a step.

stretch  moves may make the step longer by that share of its time
payback  a move may make the step longer by the time of so many reads from DRAM, which it is reckoned
         to save later

The larger of both numbers of moves is taken. Where every move makes its own step longer, as with the
variants `text` and `exclusive`, nothing would ever move without one of the two.
"""

import numpy as np

from hmsim.bits import has
from hmsim.errors import InputError
from hmsim.jit import kernel
from hmsim.placement.latency import latency_of
from hmsim.placement.latency_kernel import READ, group_seconds, packed, unpacked
from hmsim.placement.policies.api import policy_step
from hmsim.placement.policies.lru_kernel import promote, use
from hmsim.placement.policies.reactive import Reactive
from hmsim.placement.policies.uses_kernel import demand

STRETCH, PAYBACK, BLOCK, MODEL = range(4)  # in own.floats, see `Slack`


@kernel
def _seconds(now, size, latency, fixed, appended, reads, hits, promoted, demoted):
    """Time of the step with so many moves. `fixed`: other bytes of HBM; `appended`: of DRAM."""
    copies = latency.copies
    into, out = size * promoted, copies.demote * size * demoted
    fetched = copies.fill * into  # what is promoted is being read
    return group_seconds(
        fixed + into + out, size * reads, size * hits, appended, fetched, out, now.compute_s,
        latency,
    )  # fmt: skip


@kernel
def _paid_back(now, size, latency, fixed, appended, reads, hits, free, worth):
    """How many moves make this step, less `worth` seconds for each, shortest; the most of equal
    ones. Times are convex in the moves: they fall until they rise."""
    least, most = 0, reads - hits
    while least < most:
        middle = (least + most) // 2
        less, more = 0.0, 0.0
        for moves in (middle, middle + 1):
            demoted = max(0, moves - free)
            less = more
            more = _seconds(now, size, latency, fixed, appended, reads, hits, moves, demoted)
        if more <= (less + worth) * (1 + 1e-12):
            least = middle + 1
        else:
            most = middle
    return least


@policy_step
def step(now, hbm, own, moves):
    """Promote as much as fits into the time that the step takes anyway, or pays back."""
    use(now, hbm, own)
    reads, hits = demand(now, hbm)
    free = max(0, hbm.capacity - hbm.used[0])
    fixed, appended = now.hbm_bytes, 0.0
    size, latency = own.floats[BLOCK], unpacked(own.floats[MODEL:])
    for i in range(now.appended.size):
        here = has(hbm.resident[now.lane], now.appended[i])
        if here:
            fixed += now.appended_bytes[i]
        if not here or latency.copies.append == 1:
            appended += now.appended_bytes[i]
    worth = own.floats[PAYBACK] * size * latency.term[:, READ].max()
    paid = _paid_back(now, size, latency, fixed, appended, reads, hits, free, worth)
    limit = _seconds(now, size, latency, fixed, appended, reads, hits, 0, 0)
    limit *= 1 + own.floats[STRETCH]
    limit *= 1 + 1e-12  # a tie fits, however its sum was rounded
    most, too_many = 0, reads - hits + 1
    while too_many - most > 1:  # the time grows with the moves
        middle = (most + too_many) // 2
        demoted = max(0, middle - free)
        taken = _seconds(now, size, latency, fixed, appended, reads, hits, middle, demoted)
        if taken <= limit:
            most = middle
        else:
            too_many = middle
    promote(now, hbm, own, moves, max(most, paid))


class Slack(Reactive):
    """Least recently used, in the time that a step leaves.

    Its memory is that of `Reactive`, and

        own.floats  [3 + n]
          STRETCH   1                share by which moves may make a step longer
          PAYBACK   1                reads from DRAM that a promotion saves later
          BLOCK     1                bytes of a block
          MODEL     [n]              the latency model, as `latency_kernel.packed` leaves it

    Args:
        stretch: Share by which moves may make a step longer, from 0 up.
        payback: How many reads from DRAM a block that is promoted is reckoned to save, from 0 up.
    """

    name = "slack"
    step = step

    def __init__(self, stretch: float = 0.0, payback: float = 0.0):
        for key, value in (("stretch", stretch), ("payback", payback)):
            if not (isinstance(value, int | float) and 0 <= value <= 1e6):
                raise InputError(f"policy {self.name}: {key}: {value!r}: from 0 up")
        self._stretch, self._payback = float(stretch), float(payback)

    def own(self, geometry, capacity, rates, resident):
        own = super().own(geometry, capacity, rates, resident)
        head = np.array([self._stretch, self._payback, float(geometry.block_bytes)])
        model = packed(latency_of(self.variant, rates))
        return own._replace(floats=np.concatenate([head, model]))
