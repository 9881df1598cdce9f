"""Selection by a latent score a block: what Quest, DeepSeek sparse attention and their kin read."""

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
        shape, words = (lanes, self.process.heads), int(schedule.word[-1])
        sequences, columns = schedule.start.size, scores_kernel.STATE_COLUMNS
        self.choice = Choice(
            lasting=np.zeros((*shape, words * 64)),
            slow=np.zeros((*shape, words * 64)),
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
                self.seen, self.quota, self.weight, self.recency, self.choice,
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
    of_layer = (1 - of_all) * (spec.head_correlation if heads > 1 else 1.0)
    noise = 3.6 * (spec.slow + spec.flicker)  # beyond what sums of four uniform numbers reach
    low = -spec.popularity * 1.8 - noise - 17 * spec.recency
    high = spec.popularity * 12 + noise
    return Process(
        seed=seed,
        heads=max(heads, 1),
        popularity=spec.popularity,
        slow=spec.slow,
        slow_steps=spec.slow_steps,
        flicker=spec.flicker,
        flicker_steps=spec.flicker_steps,
        phase_steps=spec.phase_steps,
        shared=(of_all**0.5, of_layer**0.5, max(1 - of_all - of_layer, 0.0) ** 0.5),
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


def _recency(spec: ScoresSpec, blocks: int) -> F64:
    """Score lost by age in blocks: `spec.recency` at each doubling."""
    ages = np.maximum(np.arange(blocks + 1), 1)
    return spec.recency * np.floor(np.log2(ages))


def _weight(spec: ScoresSpec, process: Process) -> I64:
    """What a block of each level counts: 1, or its share of the attention mass as an integer."""
    if spec.mass is None:
        return np.ones(LEVELS, np.int64)
    score = (np.arange(LEVELS) + 0.5 - LEVELS) / process.scale
    return np.maximum(np.exp(spec.spread * score) * 2.0**40, 1).astype(np.int64)
