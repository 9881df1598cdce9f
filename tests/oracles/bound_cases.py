"""Small random workloads for the tests of the bounds, and a slow Lagrangian to check by."""

from typing import NamedTuple

import numpy as np

from hmsim.bits import pack
from hmsim.bound.exact.problem import Problem, collect
from hmsim.bound.paths.words import gather
from hmsim.bound.prices import Lagrangian, Setting
from hmsim.placement.latency import Rates, latency_of
from hmsim.workload.steps import Geometry, Steps, group_starts


class Blocks(NamedTuple):
    """A workload in memory, as dense arrays over blocks [N] and steps [T]."""

    lane: np.ndarray  # [T]
    token: np.ndarray  # [T]
    birth: np.ndarray  # [N], -1 for a prompt block
    death: np.ndarray  # [N]
    number: np.ndarray  # [N] lane * slots + slot
    read: np.ndarray  # [N, T] bool
    append: np.ndarray  # [N, T] bytes
    hbm_bytes: np.ndarray  # [T]
    compute_s: np.ndarray  # [T]
    block_bytes: int
    lanes: int
    slots: int
    resident_bytes: float = 0.0
    title: str = "blocks"
    toml: str = ""
    seed: int = 0
    rows: int = 7  # steps a chunk
    tokens_per_block: int = 1

    @property
    def geometry(self):
        return Geometry(
            len(self.lane), self.lanes, self.slots, self.block_bytes, self.tokens_per_block,
            self.lanes, 1, self.resident_bytes,
        )  # fmt: skip

    @property
    def prompt(self):
        bits = np.zeros((self.lanes, self.slots), np.uint8)
        bits.reshape(-1)[self.number[self.birth < 0]] = 1
        return pack(bits)

    def locate(self, block):
        lane, slot = np.divmod(block, self.slots)
        return lane, np.zeros_like(block), slot

    def chunks(self):
        steps = len(self.lane)
        for first in range(0, steps, self.rows):
            rows = np.arange(first, min(first + self.rows, steps))
            flags = np.zeros((len(rows), self.slots), np.uint8)
            slots, sizes, born, deaths = [], [], [], []
            for k, t in enumerate(rows):
                flags[k, self.number[self.read[:, t]] % self.slots] = 1
                grown = np.flatnonzero(self.append[:, t])
                grown = grown[np.argsort(self.number[grown])]
                slots.append(self.number[grown] % self.slots)
                sizes.append(self.append[grown, t])
                born.append(self.birth[grown] == t)
                deaths.append(np.sort(self.number[self.death == t]))
            yield Steps(
                first, self.lane[rows], self.token[rows],
                pack(flags),
                flags.sum(axis=1).astype(np.int64),
                _offset(slots), _join(slots), _join(sizes), _join(born),
                _offset(deaths), _join(deaths), self.hbm_bytes[rows], self.compute_s[rows],
            )  # fmt: skip


def random_blocks(
    rng: np.random.Generator,
    steps=None,
    blocks=None,
    lanes=None,
    stickiness=None,
    tokens_per_block=2,
    births=True,
) -> Blocks:
    """Any workload at all: layers in turn, reads that stick, births, growth and deaths."""
    lanes = lanes or int(rng.integers(1, 4))
    steps = steps or int(rng.integers(1, 13))
    blocks = blocks or int(rng.integers(1, 10))
    slots = 64 * (1 + (blocks - 1) // 64) + 64
    block_bytes = 8 * tokens_per_block
    lane_of_step = np.arange(steps) % lanes
    lane = rng.integers(0, lanes, blocks)
    number = np.empty(blocks, np.int64)
    for each in range(lanes):
        mine = np.flatnonzero(lane == each)
        number[mine] = each * slots + rng.choice(slots, len(mine), replace=False)
    density = rng.uniform(0.1, 0.9)
    sticky = rng.uniform(0, 0.95) if stickiness is None else stickiness
    read = np.zeros((blocks, steps), bool)
    append = np.zeros((blocks, steps), np.int64)
    birth, death = np.full(blocks, -1), np.full(blocks, steps)
    for n in range(blocks):
        own = np.flatnonzero(lane_of_step == lane[n])
        if births and len(own) and rng.random() < 0.5:
            birth[n] = rng.choice(own)
        if births and rng.random() < 0.3:
            death[n] = rng.integers(max(birth[n], 0) + 1, steps + 1)
        full = rng.random() < 0.4
        left = tokens_per_block if birth[n] >= 0 else tokens_per_block - 1
        now = rng.random() < density
        for t in own[(own >= birth[n]) & (own < death[n])]:
            read[n, t] = now
            if rng.random() > sticky:
                now = rng.random() < density
            if left and births and (t == birth[n] or rng.random() < 0.3):
                append[n, t] = 8 * left if full else 8
                left = 0 if full else left - 1
    return Blocks(
        lane_of_step.astype(np.int64), np.arange(steps, dtype=np.int64) // lanes,
        birth, death, number, read, append,
        rng.choice([0.0, 40.0, 400.0]) * rng.random(steps),
        rng.choice([0.0, 3.0, 30.0]) * rng.random(steps), block_bytes, lanes, slots,
    )  # fmt: skip


def random_rates(rng: np.random.Generator) -> Rates:
    """Rates near 1 to 20 bytes a second, slow and asymmetric links included."""
    hbm = rng.uniform(2, 20)
    link_read, link_write, dram = hbm / rng.choice([1.5, 4, 10, 40], 3) * rng.uniform(0.7, 1.3, 3)
    if rng.random() < 0.2:
        dram = link_read
    return Rates(float(hbm), float(link_read), float(link_write), float(dram))


def posed(
    blocks: Blocks, rates: Rates, room: int, variant: str, barrier: str
) -> tuple[Problem, Lagrangian]:
    """The problem of these blocks where HBM holds `room` of them, and its Lagrangian."""
    problem = collect(blocks, float(blocks.block_bytes * room))
    timeline, grid = gather(blocks, 1)
    setting = Setting(timeline, rates, variant, barrier, blocks.block_bytes, problem.room)
    return problem, Lagrangian(setting, grid)


def slow_lagrangian(
    problem: Problem, rates: Rates, variant: str, barrier: str, arm_price, room_price
) -> float:
    """The Lagrangian at given prices [G, arms] and [T], block by block and step by step."""
    start = group_starts(problem.token, barrier)
    group = np.repeat(np.arange(len(start)), np.diff(start, append=problem.steps))
    inclusive = variant in ("code", "inclusive")
    size = problem.block_bytes
    hbm = arm_price[:, 0][group] / rates.hbm
    er, ew, mi, mo = (arm_price[:, 1:] @ latency_of(variant, rates).term)[group].T
    floor = 1 - arm_price.sum(axis=1)
    value = float((floor[group] * problem.compute_s + hbm * problem.hbm_bytes).sum())
    value -= problem.room * room_price.sum()
    for n in range(problem.blocks):
        first, last = problem.birth[n], problem.death[n]
        cost = np.zeros((problem.steps, 2))
        cost[:, 1] = room_price
        fill = np.zeros(problem.steps, bool)
        for t in problem.read_step[problem.read_offset[n] : problem.read_offset[n + 1]]:
            cost[t, 0] += size * er[t]
            cost[t, 1] += size * (min(hbm[t], er[t]) if inclusive else hbm[t])
            fill[t] = inclusive
        for k in range(problem.append_offset[n], problem.append_offset[n + 1]):
            t, w = problem.append_step[k], problem.append_bytes[k]
            cost[t, 0] += w * ew[t]
            cost[t, 1] += w * (hbm[t] + (ew[t] if inclusive else 0.0))
        v0, v1 = cost[first]
        for t in range(first + 1, last):
            u = t - 1
            up = size * (hbm[u] + (0.0 if fill[u] else mi[u]))
            down = 0.0 if inclusive else size * (hbm[u] + mo[u])
            v0, v1 = min(v0, v1 + down) + cost[t, 0], min(v1, v0 + up) + cost[t, 1]
        value += min(v0, v1)
    return value


def _join(parts):
    return np.concatenate([np.asarray(p, np.int64) for p in parts])


def _offset(parts):
    return np.cumsum([0] + [len(p) for p in parts]).astype(np.int64)
