"""A policy taken through a workload by the driver."""

import numpy as np

from hmsim.placement.latency import Groups, Rates
from hmsim.workload.windows import windows

RATES = Rates(4900e9, 450e9, 450e9, 500e9)


def take(policy, workload, capacity, rates=RATES, variant="text", barrier="layer"):
    """Counts, traffic, and residents of the read lane before each step."""
    run = policy.start(workload, capacity, rates, variant, barrier)
    counts, traffic, held = [], [], []
    for window in windows(workload, policy.ahead_tokens):
        found, samples = run.advance(window, np.arange(window.rows))
        counts.append(found)
        traffic.append(run.traffic(found, Groups.of(window.own, barrier)))
        held += [
            int(np.bitwise_count(sample.before[lane]).sum())
            for lane, sample in zip(window.own.lane, samples, strict=True)
        ]
    joined = [np.concatenate(parts) for parts in zip(*traffic, strict=True)]
    return np.concatenate(counts), type(traffic[0])(*joined), np.array(held)
