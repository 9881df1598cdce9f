"""Counts by time whose sums up to a time are found in O(log n): a Fenwick tree, I64[times + 1]."""

from hmsim.jit import kernel


@kernel
def change(tree, time, by):
    """Add `by` to the count of `time`."""
    i = time + 1
    while i < tree.size:
        tree[i] += by
        i += i & -i


@kernel
def up_to(tree, time):
    """Sum over times 0 .. time."""
    total, i = 0, time + 1
    while i > 0:
        total += tree[i]
        i -= i & -i
    return total
