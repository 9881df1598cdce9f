"""Classes of blocks by how they were read so far, and what each class has taught of reads to come.

A block's *class* says how often it was read of late (16 levels), how long ago it was read last (16
ages), and whether it is *old*: not among the newest blocks of its lane that HBM would hold, if all lanes
had as much of it. The first two, its *kind*, are one byte. Each visit of its lane takes it to its next
kind, by a table:

level  an average of reads in which the last counts 1 / memory, between levels 0 and 1 that lie closer
       together towards 0
age    0 after a visit that reads it, and then wider and wider ranges of visits

A byte cannot hold the average, nor count the visits within a range. So there are TURNS tables, of
which one is drawn at each visit for every 64 slots: where the average ends a third of the way between
two levels, a third of the tables go up. For ranges of more visits than that there are TURNS more, which
one visit in RARE goes by.

What is learned are each lane's reads by class. As the tables say where a read, or none, takes a class,
reads to come follow: `worth[c]`, the reads of a block of class c from the next visit on, each counting
a horizon's share less than the one before, is what a read now is worth, and the worth of the class
after it. A block that is old stays so; that one grows old is left out of account.
"""

from functools import cache

import numpy as np

from hmsim.jit import kernel
from hmsim.random import mix
from hmsim.workload.steps import F64, I64, U64

LEVELS, AGES, TURNS, RARE = 16, 16, 32, 64
KINDS = LEVELS * AGES
CLASSES = 2 * KINDS  # the second half is of old blocks
# Visits at which each age but the last ends.
OLDEST = np.array([0, 1, 2, 4, 6, 10, 16, 24, 40, 64, 128, 256, 512, 1024, 2048])
LASTS = np.append(np.diff(OLDEST, prepend=-1), np.inf)  # visits that a block is of each age
UNKNOWN = 4 * AGES + 10  # the kind of the prompt's blocks, which no visit has seen
NEW = KINDS - 1  # that of blocks being born: what is read always is hardly ever not read for long
FORGET_EVERY, KEPT = 16, 0.8  # after so many visits, so much of what was learned is kept
PRIOR = 4.0  # visits of each class that are taken for granted
ALIKE = 0.1  # what a visit of the same kind counts that is of the other half
# A lane learns from all of its words, or from about as many as the first number, or from one in 8.
WORDS_A_SAMPLE, MOST_APART = 64, 8
VALUE_EVERY = 4  # visits of a lane between two times at which `worth` follows what was learned
SWEEPS = 2


@kernel
def next_level(level: int, read: int, memory: float) -> tuple[int, float]:
    """The level below the average after a visit, and how far that is on the way to the next level."""
    last = LEVELS - 1
    mean = (level / last) ** 2 * (1 - 1 / memory) + read / memory
    low = min(int(np.sqrt(mean) * last), last - 1)
    floor = (low / last) ** 2
    return low, (mean - floor) / (((low + 1) / last) ** 2 - floor)


@cache
def next_kinds(memory: float) -> np.ndarray:
    """The tables, uint8 [2 * TURNS, 2, KINDS]: the kind after a visit, without and with a read."""
    tables = np.zeros((2 * TURNS, 2, KINDS), np.uint8)
    for turn in range(2 * TURNS):
        share, other = (turn % TURNS + 0.5) / TURNS, (turn * 7 % TURNS + 0.5) / TURNS
        often = np.where(LASTS <= TURNS, 1.0, RARE if turn >= TURNS else 0.0)
        older = other < often / LASTS
        for read in range(2):
            for level in range(LEVELS):
                low, up = next_level(level, read, memory)
                first = (low + (share < up)) * AGES
                ages = 0 if read else np.arange(AGES) + older
                tables[turn, read, level * AGES : (level + 1) * AGES] = first + ages
    tables[:, :, NEW] = tables[:, :, UNKNOWN]
    return tables


def prior_reads() -> F64:
    """What is taken for granted: visits of each class without and with a read, [CLASSES, 2]."""
    level = np.repeat((np.arange(LEVELS) / (LEVELS - 1)) ** 2, AGES)
    age = np.tile(np.append(OLDEST, 1000), LEVELS)
    share = np.clip(0.5 * level + 0.45 / (1 + age), 0.001, 0.999)
    return np.tile(PRIOR * np.stack([1 - share, share], axis=1), (2, 1))


@kernel
def see(
    read: U64, alive: U64, visit: int, fit: int, tables: np.ndarray, classes: np.ndarray, seen: F64
) -> None:
    """A lane's visit: learn from a sample of its blocks, then take all slots to their next class.

    `read`, `alive` [words]; `fit`: blocks of a lane that HBM would hold; `tables` [2 * TURNS * 2 *
    KINDS]; `classes` uint16 [64 * words]; `seen` [CLASSES, 2]: visits without and with a read.
    """
    words = read.size
    newest = words - 1
    while newest > 0 and alive[newest] == 0:
        newest -= 1
    apart = max(1, min(MOST_APART, words // WORDS_A_SAMPLE))
    one = np.uint64(1)
    for w in range(words):
        bits, here = read[w], alive[w]
        mine = classes[w * 64 : w * 64 + 64]
        if (w + visit) % apart == 0:
            for b in range(64):
                if (here >> np.uint64(b)) & one:
                    seen[mine[b], np.int64((bits >> np.uint64(b)) & one)] += 1.0
        drawn = mix(np.uint64(visit * words + w))
        turn = np.int64(drawn >> np.uint64(40)) & (TURNS - 1)
        if drawn & np.uint64(RARE - 1) == 0:
            turn += TURNS
        table = tables[2 * turn * KINDS : 2 * (turn + 1) * KINDS]
        half = KINDS if 64 * (newest - w) >= fit else 0
        for b in range(64):
            kind = np.int64(mine[b]) & (KINDS - 1)
            way = np.int64((bits >> np.uint64(b)) & one)
            mine[b] = half + np.int64(table[way * KINDS + kind])


@kernel
def forget(prior: F64, seen: F64) -> None:
    """Let what was learned count less than what will be."""
    for c in range(CLASSES):
        for read in range(2):
            seen[c, read] = KEPT * seen[c, read] + (1 - KEPT) * prior[c, read]


@kernel
def value(memory: float, horizon: float, seen: F64, worth: F64, order: I64) -> None:
    """Bring `worth` [CLASSES] nearer to what was learned, and `order` [CLASSES] to ascend in it."""
    kept = 1 - 1 / horizon
    for _ in range(SWEEPS):
        for c in range(CLASSES):
            half, kind = divmod(c, KINDS)
            level, age = divmod(UNKNOWN if kind == NEW else kind, AGES)
            half *= KINDS
            low, up = next_level(level, 1, memory)
            busy = (1 - up) * worth[half + low * AGES] + up * worth[half + (low + 1) * AGES]
            low, up = next_level(level, 0, memory)
            idle, same = 0.0, half + low * AGES + age
            for after, share in ((same, 1 - 1 / LASTS[age]), (same + 1, 1 / LASTS[age])):
                if share > 0.0:  # the oldest grow no older
                    idle += share * ((1 - up) * worth[after] + up * worth[after + AGES])
            reads = seen[c, 1] + ALIKE * seen[c ^ KINDS, 1]
            others = seen[c, 0] + ALIKE * seen[c ^ KINDS, 0]
            share = reads / (reads + others)
            worth[c] = share * (1 + kept * busy) + (1 - share) * kept * idle
    for k in range(1, CLASSES):
        c = order[k]
        j = k
        while j > 0 and (
            worth[order[j - 1]] > worth[c] or (worth[order[j - 1]] == worth[c] and order[j - 1] > c)
        ):
            order[j] = order[j - 1]
            j -= 1
        order[j] = c
