"""Random workloads, few blocks over few steps, as arrays; and random bandwidths to go with them."""

from typing import NamedTuple

import numpy as np

from hmsim.bits import pack
from hmsim.bound.exact.problem import Problem, collect
from hmsim.bound.paths.words import gather
from hmsim.bound.prices import Lagrangian, Setting
from hmsim.placement.latency import Rates
from hmsim.workload.steps import Geometry, Steps


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
    in_turn=True,
) -> Blocks:
    """Any workload at all: layers, in turn or not, reads that stick, births, growth and deaths."""
    lanes = lanes or int(rng.integers(1, 4))
    steps = steps or int(rng.integers(1, 13))
    blocks = blocks or int(rng.integers(1, 10))
    slots = 64 * (1 + (blocks - 1) // 64) + 64
    block_bytes = 8 * tokens_per_block
    lane_of_step = np.arange(steps) % lanes if in_turn else rng.integers(0, lanes, steps)
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
    blocks: Blocks, rates: Rates, capacity: int, variant: str, barrier: str
) -> tuple[Problem, Lagrangian]:
    """The problem of these blocks where HBM holds `capacity` of them, and its Lagrangian."""
    problem = collect(blocks, float(blocks.block_bytes * capacity))
    timeline, grid = gather(blocks, 1)
    setting = Setting(timeline, rates, variant, barrier, blocks.block_bytes, problem.capacity)
    return problem, Lagrangian(setting, grid)


def _join(parts):
    return np.concatenate([np.asarray(p, np.int64) for p in parts])


def _offset(parts):
    return np.cumsum([0] + [len(p) for p in parts]).astype(np.int64)
