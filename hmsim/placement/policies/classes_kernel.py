"""Classes of blocks by how they were read so far, and what each class has taught of reads to come.

A block's *class* is one byte: how often it was read of late (16 levels) and how long ago it was read
last (16 ages). Each visit of its lane takes it to its next class, by a table:

level  an average of reads in which the last counts 1 / memory, between levels 0 and 1 that lie closer
       together towards 0
age    0 after a visit that reads it, and then wider and wider ranges of visits

A byte cannot hold the average, nor count the visits within a range. So there are TURNS tables, which
take turns by visit and slot: where the average ends a third of the way between two levels, a third of
the tables go up. A block goes through all of them in as many visits.

What is learned are each lane's reads by class. As the tables say where a read, or none, takes a class,
reads to come follow: `worth[c]`, the reads of a block of class c from the next visit on, each counting
a horizon's share less than the one before, is what a read now is worth, and the worth of the class
after it.
"""

from functools import cache

import numpy as np

from hmsim.jit import kernel
from hmsim.random import mix
from hmsim.workload.steps import F64, I64, U64

LEVELS, AGES, TURNS = 16, 16, 32
CLASSES = LEVELS * AGES
OLDEST = np.array(
    [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256]
)  # visits, of each age but one
UNKNOWN = 4 * AGES + 10  # the class of blocks that no visit has seen
FORGET_EVERY, KEPT = (
    16,
    0.8,
)  # visits between two times at which so much of what was learned is kept
PRIOR = 4.0  # visits of each class that are taken for granted
WORDS_A_SAMPLE, MOST_APART = 8, 8  # a lane of more words learns from one in so many, up to one in 8
VALUE_EVERY = 4  # visits of a lane between two times at which `worth` follows what was learned
SWEEPS = 2


@cache
def next_classes(memory: float) -> np.ndarray:
    """The tables, uint8 [TURNS, 2, CLASSES]: the class after a visit, without and with a read."""
    weight = 1.0 / memory
    level = (np.arange(LEVELS) / (LEVELS - 1)) ** 2
    width = np.diff(OLDEST, prepend=-1)
    tables = np.zeros((TURNS, 2, CLASSES), np.uint8)
    for turn in range(TURNS):
        share, other = (turn + 0.5) / TURNS, (turn * 7 % TURNS + 0.5) / TURNS
        for read in range(2):
            for now in range(LEVELS):
                mean = level[now] * (1 - weight) + weight * read
                low = min(int(np.searchsorted(level, mean, "right")) - 1, LEVELS - 2)
                up = share < (mean - level[low]) / (level[low + 1] - level[low])
                for age in range(AGES):
                    older = age < AGES - 1 and other < 1.0 / width[age]
                    then = 0 if read else age + older
                    tables[turn, read, now * AGES + age] = (low + up) * AGES + then
    return tables


def prior_reads() -> F64:
    """What is taken for granted: visits of each class without and with a read, [CLASSES, 2]."""
    level = np.repeat((np.arange(LEVELS) / (LEVELS - 1)) ** 2, AGES)
    age = np.tile(np.append(OLDEST, 1000), LEVELS)
    share = np.clip(0.5 * level + 0.45 / (1 + age), 0.001, 0.999)
    return PRIOR * np.stack([1 - share, share], axis=1)


@kernel
def see(
    read: U64, alive: U64, visit: int, tables: np.ndarray, classes: np.ndarray, seen: F64
) -> None:
    """A lane's visit: learn from a sample of its blocks, then take all slots to their next class.

    `read`, `alive` [words]; `tables` [TURNS * 2 * CLASSES]; `classes` uint8 [64 * words]; `seen`
    [CLASSES, 2]: visits without and with a read.
    """
    words = read.size
    apart = max(1, min(MOST_APART, words // WORDS_A_SAMPLE))
    one = np.uint64(1)
    for w in range(words):
        bits, here = read[w], alive[w]
        mine = classes[w * 64 : w * 64 + 64]
        if (w + visit) % apart == 0:
            for b in range(64):
                if (here >> np.uint64(b)) & one:
                    seen[mine[b], np.int64((bits >> np.uint64(b)) & one)] += 1.0
        turn = np.int64(mix(np.uint64(visit * words + w)) >> np.uint64(40))
        for b in range(64):
            way = ((turn + 11 * b) & (TURNS - 1)) * 2 + np.int64((bits >> np.uint64(b)) & one)
            mine[b] = tables[way * CLASSES + mine[b]]


@kernel
def forget(prior: F64, seen: F64) -> None:
    """Let what was learned count less than what will be."""
    for c in range(CLASSES):
        for read in range(2):
            seen[c, read] = KEPT * seen[c, read] + (1 - KEPT) * prior[c, read]


@kernel
def value(horizon: float, tables: np.ndarray, seen: F64, worth: F64, order: I64) -> None:
    """Bring `worth` [CLASSES] nearer to what was learned, and `order` [CLASSES] to ascend in it."""
    kept = 1 - 1 / horizon
    for _ in range(SWEEPS):
        for c in range(CLASSES):
            idle, busy = 0.0, 0.0
            for turn in range(TURNS):
                idle += worth[tables[(2 * turn) * CLASSES + c]]
                busy += worth[tables[(2 * turn + 1) * CLASSES + c]]
            share = seen[c, 1] / (seen[c, 0] + seen[c, 1])
            worth[c] = share * (1 + kept * busy / TURNS) + (1 - share) * kept * idle / TURNS
    for k in range(1, CLASSES):
        c = order[k]
        j = k
        while j > 0 and (
            worth[order[j - 1]] > worth[c] or (worth[order[j - 1]] == worth[c] and order[j - 1] > c)
        ):
            order[j] = order[j - 1]
            j -= 1
        order[j] = c
