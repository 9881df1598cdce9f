"""`run` fidelity: the burst engine on a systematic sample, with the rest counted and scaled.

Between two barriers the channels of a memory see statistically the same traffic, and so do the
beginning and the end of a long stream. So a few channels, in turn, are simulated burst by burst on
clusters of consecutive pages spread evenly over the step; the others' bursts are only counted. A
channel's time is the unloaded latency plus its own bursts at the sampled pace, and the slowest
channel ends the step. Queues, row conflicts, turnarounds and refresh are thus the burst engine's
own on every map and mix, the pace never beats the pins, and the cost is that of counting.

This is the sampling of R. Wunderlich et al., "SMARTS" (ISCA 2003), applied to memory channels.
"""

import numpy as np
from numpy.typing import NDArray

from hmsim.memory.compiling import kernel

I64 = NDArray[np.int64]

BUDGET = 1 << 13  # bursts simulated per sampled channel and step: two or three refresh intervals
CHANNELS = 4  # channels sampled in a step
CLUSTER_BYTES = 1 << 17  # consecutive traffic kept together, over all channels


def clusters(size: I64, keep_one_in: int) -> NDArray[np.bool_]:
    """Which pages to keep: whole clusters, one in so many, evenly spread; all of them for 1."""
    position = np.cumsum(size) - size
    return position // CLUSTER_BYTES % keep_one_in == keep_one_in // 2


@kernel
def count_bursts(address, size, stripe, burst, counts):
    """Add each channel's bursts of 2^burst bytes to counts: int64 [channels]; see replay."""
    channels = len(counts)
    for j in range(len(address)):
        low = address[j]
        high = low + size[j]
        chunk = low >> stripe
        c = chunk % channels
        while chunk << stripe < high:
            first = max(low, chunk << stripe) >> burst
            last = (min(high, (chunk + 1) << stripe) - 1) >> burst
            counts[c] += last - first + 1
            chunk += 1
            c += 1
            if c == channels:
                c = 0
