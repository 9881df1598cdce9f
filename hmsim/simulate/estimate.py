"""From a sample of replayed groups to the whole run, with a confidence interval."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

EACH = 8  # sampled groups for every coefficient of the regression, at least
COLLINEAR = 1e-5  # columns that differ by less, relatively, tell nothing of their own
LEAST_TIME = 1e-3  # of the mean: the scatter of a group of less time is taken for that of this


class Estimate(NamedTuple):
    """Seconds of the whole run; half width of the 95 % confidence interval of that."""

    time_s: float
    ci95_s: float


class Spread(NamedTuple):
    """An estimate's variance so far, that of a group's residual, and its degrees of freedom."""

    time_s: float
    variance: float
    of_group: float
    freedom: int


def quantile(freedom: int) -> float:
    """How many standard errors the 95 % interval reaches."""
    from scipy.special import stdtrit  # scipy.stats takes ten times as long to import

    return float(stdtrit(freedom, 0.975))


def regression_estimate(sampled: F64, weight: F64, known: F64, totals: F64) -> Estimate:
    """The total of what was sampled, by regression on what is known of every group.

    sampled: float64 [n], seconds of the sampled groups by the memory kernels. weight: float64 [n],
    how many groups each of them stands for. known: float64 [n, columns], what is known of each: the
    analytic seconds, then 1, then whatever the time may depend on, the most telling first. totals:
    float64 [columns], the same summed over all groups.

    The regression estimator of survey sampling (Särndal, Swensson, Wretman, Model Assisted Survey
    Sampling, chapter 6), residuals growing with the root of the analytic time. As many columns count
    as there are EACH samples for; with the first alone it is the ratio estimator (Cochran, Sampling
    Techniques, chapter 6). A sample of everything has no error.
    """
    if len(sampled) >= totals[1]:
        return Estimate(float(sampled.sum()), 0.0)
    if not known[:, 0].any():
        return Estimate(float("nan"), float("nan"))
    found = spread(sampled, weight, known, totals)
    if found.freedom < 1:
        return Estimate(found.time_s, float("nan"))
    return Estimate(found.time_s, quantile(found.freedom) * float(np.sqrt(found.variance)))


def spread(sampled: F64, weight: F64, known: F64, totals: F64) -> Spread:
    """As `regression_estimate`, of some groups with time among them; see `Spread`."""
    n = len(sampled)
    columns = min(known.shape[1], max(1, n // EACH))
    scale = np.where(totals[:columns] != 0, totals[:columns], 1.0) / totals[1]
    x, total = known[:, :columns] / scale, totals[:columns] / scale
    scatter = np.maximum(x[:, 0], LEAST_TIME)
    half = np.sqrt(weight / scatter)
    left, singular, right = np.linalg.svd(x * half[:, None], full_matrices=False)
    told = singular > COLLINEAR * singular[0]
    left, right = left[:, told], right[told] / singular[told, None]
    residual = sampled - x @ (right.T @ (left.T @ (sampled * half)))
    # What each group counts for, as the columns' totals are known and not estimated.
    effect = 1 + x @ (right.T @ (right @ (total - weight @ x))) / scatter
    time_s = float((weight * effect) @ sampled)
    freedom = n - int(told.sum())
    unbiased = n / max(freedom, 1)
    return Spread(
        time_s,
        unbiased * float((weight * (weight - 1)) @ (effect * residual) ** 2),
        unbiased * float(weight @ residual**2) / float(weight.sum()),
        freedom,
    )
