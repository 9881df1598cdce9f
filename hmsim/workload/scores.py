"""Selection by a latent score a block: what Quest, DeepSeek sparse attention and their kin read."""

import math

import numpy as np

from hmsim.config.model import LlmModel
from hmsim.config.workload import ScoresSpec
from hmsim.errors import InputError
from hmsim.workload import scores_kernel
from hmsim.workload.batch import Schedule
from hmsim.workload.scores_kernel import DENSE, LEVELS, SELECTED, STREAMING, Choice, Process
from hmsim.workload.selection import in_lanes
from hmsim.workload.steps import F64, I64, U64


class Scores:
    """Read sets of `ScoresSpec`, from any token step on.

    Every (sequence, layer, head group) chooses for itself among the blocks that are neither sink
    nor window; a layer reads what any of its head groups chose.
    """

    def __init__(
        self, schedule: Schedule, model: LlmModel, lanes: int, spec: ScoresSpec, seed: int
    ) -> None:
        size = schedule.block_tokens
        check_budget(spec, schedule)
        self.schedule = schedule
        self.process = _process(spec, seed, size)
        self.mode, self.window, self.seen = _lanes(spec, model, lanes)
        self.quota = _quota(spec, size, int(schedule.blocks.max(initial=0)))
        self.weight = _weight(spec, self.process)
        self.recency = _recency(spec, int(schedule.blocks.max(initial=0)))
        self.flicker = _flicker(spec, lanes)
        shape, words = (lanes, self.process.heads), int(schedule.word[-1])
        sequences, columns = schedule.start.size, scores_kernel.STATE_COLUMNS
        self.choice = Choice(
            parts=np.zeros((*shape, words * 64, 1 + spec.slow_parts)),
            steady=np.zeros((*shape, words * 64)),
            brief=np.zeros((*shape, words * 64)),
            # 16 bits: the scan over them is most of what a step with few changes costs.
            level=np.zeros((*shape, words * 64), np.int16),
            histogram=np.zeros((*shape, schedule.seats, LEVELS), np.int32),
            state=np.full((*shape, sequences, columns), -1, np.int64),
            chosen=np.zeros((*shape, words), np.uint64),
        )

    def fill(self, bits: U64, reads: I64, step: int) -> None:
        """As `Selection.fill`."""
        in_lanes(
            bits.shape[1],
            lambda lanes: scores_kernel.fill(
                bits, reads, lanes, step, self.schedule, self.process, self.mode, self.window,
                self.seen, self.quota, self.weight, self.recency, self.flicker, self.choice,
            ),
        )  # fmt: skip


def check_budget(spec: ScoresSpec, schedule: Schedule, kind: str = "scores") -> None:
    """InputError for sizes of no whole blocks, or a budget above every context."""
    size = schedule.block_tokens
    for name, tokens in (("budget", spec.budget), ("sink", spec.sink)):
        if tokens is not None and tokens % size:
            raise InputError(
                f"workload.{kind}.{name}: {tokens} tokens are no multiple of block_tokens, {size}"
            )
    longest = int((schedule.prompt + schedule.stop - schedule.start).max())
    if spec.budget is not None and spec.budget > longest:
        raise InputError(
            f"workload.{kind}.budget: {spec.budget} tokens are more than the longest context, {longest}"
        )


def _process(spec: ScoresSpec, seed: int, size: int) -> Process:
    heads = spec.heads - spec.streaming_heads
    of_all = spec.layer_correlation
    of_band = (1 - of_all) * spec.band_correlation
    of_layer = (1 - of_all - of_band) * (spec.head_correlation if heads > 1 else 1.0)
    # Beyond what sums of four uniform numbers reach; scores may end there in the strongest bursts
    # and far out on long tails.
    most = spec.flicker * math.exp(2 * spec.burst + 3**0.5 * spec.layer_spread)
    most *= 1 + min(spec.flicker_tail, 1)
    noise = 3.6 * (spec.slow + most)
    lost = _lost(spec)
    low = -spec.popularity * (1.8 + spec.popularity_tail) - noise - max(lost)
    high = spec.popularity * (12 + 35 * spec.popularity_tail) + noise - min(lost)
    fall = spec.slow_fall ** np.arange(spec.slow_parts)  # of the variance, from part to part
    ratio = spec.slow_ratio ** -np.arange(spec.slow_parts)
    return Process(
        seed=seed,
        heads=max(heads, 1),
        popularity=spec.popularity,
        popularity_tail=spec.popularity_tail,
        slow=spec.slow * np.sqrt(fall / fall.sum()),
        slow_steps=np.maximum(np.rint(spec.slow_steps * ratio), 1).astype(np.int64),
        flicker=spec.flicker,
        flicker_steps=spec.flicker_steps,
        flicker_tail=spec.flicker_tail,
        phase_steps=spec.phase_steps,
        aged=len(set(lost)) > 1,
        burst=spec.burst,
        burst_steps=spec.burst_steps,
        burst_shared=(spec.burst_common**0.5, (1 - spec.burst_common) ** 0.5),
        band_layers=spec.band_layers,
        shared=(
            of_all**0.5,
            of_layer**0.5,
            max(1 - of_all - of_band - of_layer, 0.0) ** 0.5,
            of_band**0.5,
        ),
        low=low,
        scale=LEVELS / max(high - low, 1e-9),
        sink=spec.sink // size,
        reselect=spec.reselect,
        keep_mass=spec.mass or 0.0,
    )


def _lanes(spec: ScoresSpec, model: LlmModel, lanes: int) -> tuple[I64, I64, I64]:
    """What each layer does, the tokens of its local window, and those that it sees (0: all)."""
    mode = np.full(lanes, SELECTED if spec.heads > spec.streaming_heads else STREAMING)
    window = np.full(lanes, spec.window)
    mode[: spec.dense_layers] = DENSE
    seen = np.array([model.layer_window(layer) or 0 for layer in range(lanes)])
    mode[(seen > 0) & (mode == SELECTED)] = DENSE  # a window is read whole
    return mode, window, seen


def _quota(spec: ScoresSpec, size: int, blocks: int) -> I64:
    count = np.arange(blocks + 1)
    if spec.budget is not None:
        return np.minimum(count, spec.budget // size)
    if spec.keep is not None:
        return np.rint(spec.keep * count).astype(np.int64)
    return np.zeros_like(count)  # the mass decides


GOLDEN_RATIO = (5**0.5 - 1) / 2
DOUBLINGS = 17  # of a block's age, beyond which scores may end at the lowest level


def _lost(spec: ScoresSpec) -> list[float]:
    """Score lost by a block's age after 0, 1, 2, ... doublings."""
    if spec.ages is None:
        return [spec.recency * doublings for doublings in range(DOUBLINGS + 1)]
    return spec.ages


def _recency(spec: ScoresSpec, blocks: int) -> F64:
    """Score lost by age in blocks."""
    doublings = np.floor(np.log2(np.maximum(np.arange(blocks + 1), 1)))
    if spec.ages is None:
        return spec.recency * doublings
    last = len(spec.ages) - 1
    return np.array(spec.ages, np.float64)[np.minimum(doublings, last).astype(np.int64)]


def _flicker(spec: ScoresSpec, lanes: int) -> F64:
    """The flicker's deviation in each layer."""
    even = np.arange(1, lanes + 1) * GOLDEN_RATIO % 1  # spread evenly over 0 .. 1, in no order
    return spec.flicker * np.exp(spec.layer_spread * 12**0.5 * (even - 0.5))


def _weight(spec: ScoresSpec, process: Process) -> I64:
    """What a block of each level counts: 1, or its share of the attention mass as an integer."""
    if spec.mass is None:
        return np.ones(LEVELS, np.int64)
    score = (np.arange(LEVELS) + 0.5 - LEVELS) / process.scale
    return np.maximum(np.exp(spec.spread * score) * 2.0**40, 1).astype(np.int64)
