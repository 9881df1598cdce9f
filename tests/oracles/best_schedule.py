"""The least time that any schedule of a tiny workload takes, by going through all of them."""

from functools import cache
from itertools import combinations

from tests.oracles import times
from tests.oracles.job import Job


def best_time(job: Job, capacity_blocks: int, rates, variant: str) -> float:
    """Seconds, with a barrier at every layer: a shortest path over the sets of blocks in HBM.

    A block lives from its birth to its death, moves while a step runs and is there at the next;
    where it lies at its first step is free. Some ten blocks and steps at most.
    """
    steps, last = job.steps, len(job.steps) - 1
    alive, life = set(job.prompt), []
    for step in steps:
        alive = (alive - step.dying) | {block for block, _, born in step.appends if born}
        life.append(frozenset(alive))

    @cache
    def placements(t: int) -> list[frozenset[int]]:
        most = min(capacity_blocks, len(life[t]))
        return [
            frozenset(each) for n in range(most + 1) for each in combinations(sorted(life[t]), n)
        ]

    @cache
    def seconds(
        t: int, here: frozenset[int], coming: frozenset[int], going: frozenset[int]
    ) -> float:
        """Of step t, with the blocks that move while it runs."""
        step = steps[t]
        count = times.Count(
            len(step.read), len(step.read & here), len(here), sum(size for _, size, _ in step.appends),
            sum(size for block, size, _ in step.appends if block in here), len(coming),
            len(coming & step.read), len(going),
        )  # fmt: skip
        moved = times.moved(variant, count, job.block_bytes, step.hbm_bytes)
        return times.group(variant, rates, [moved], step.compute_s)[1]

    nothing = frozenset[int]()
    ahead = {here: seconds(last, here, nothing, nothing) for here in placements(last)}
    for t in range(last - 1, -1, -1):
        both = life[t] & life[t + 1]
        ahead = {
            here: min(
                seconds(t, here, both & (there - here), both & (here - there)) + rest
                for there, rest in ahead.items()
            )
            for here in placements(t)
        }
    return min(ahead.values())
