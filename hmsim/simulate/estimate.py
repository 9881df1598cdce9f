"""From a systematic sample of replayed groups to the whole run, with a confidence interval."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


class Estimate(NamedTuple):
    """Seconds of the whole run; half width of the 95 % confidence interval of that."""

    time_s: float
    ci95_s: float


def ratio_estimate(sampled: F64, known: F64, total: float, groups: int) -> Estimate:
    """Total of what was sampled, by its ratio to what is known of every group.

    `sampled[i]` and `known[i]` are the times of sampled group i by the memory kernels and by the
    analytic formula, `total` the analytic time of all `groups`. The ratio estimator of survey
    sampling (Cochran, Sampling Techniques, chapter 6), with its finite population correction: a
    sample of everything has no error.
    """
    from scipy.stats import t

    n = len(sampled)
    ratio = float(sampled.sum() / known.sum())
    if n >= groups:
        return Estimate(float(sampled.sum()), 0.0)
    if n < 2:
        return Estimate(ratio * total, float("nan"))
    residual = sampled - ratio * known
    variance = (1 - n / groups) * float(residual @ residual) / (n * (n - 1)) / known.mean() ** 2
    return Estimate(ratio * total, float(t.ppf(0.975, n - 1) * np.sqrt(variance) * total))
