"""Logged selections as trace files.

A log says what was read; the model says how large it is, and what else a step reads. Blocks are
numbered by layer, sequence and position, so that a step's are ascending.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

import numpy as np

import hmsim
from hmsim import machine
from hmsim.config.base import BytesOrZero, Strict, Tokens
from hmsim.config.model import LlmModel, resolve_model
from hmsim.config.workload import ModelChoice
from hmsim.errors import InputError, InputWarning
from hmsim.exchange.selection_logs import Log, reading
from hmsim.store.trace import SLAB_READS, Blocks, Header, Slab, write_trace
from hmsim.workload.steps import I64

BLOCK_BYTES = 120  # of memory, for one block on its way into the file
SLAB_STEPS = 1 << 14

# Settings of an import unless the caller says otherwise. DeepSeek's index keys take 132 B a token.
DEFAULTS = {
    "dsa": {"model": "deepseek-v3.2", "block_tokens": 1, "index_bytes": 132},
    "selections": {"model": "llama-3.1-8b", "block_tokens": 16},
    "blocks": {"model": "llama-3.1-8b", "block_tokens": 16},
}


class SelectionSpec(Strict):
    """What a log of selections does not say."""

    model: ModelChoice
    """What a token leaves and a step reads."""
    block_tokens: Tokens
    """Tokens of a block."""
    index_bytes: BytesOrZero = 0.0
    """Bytes of an index read from HBM to select, for each past token and layer step."""
    prompt: Tokens | None = None
    """Tokens before the first step, for logs that say no lengths."""
    requests: Literal["together", "in-turn"] | None = None
    """Whether equal steps of two requests are one step, or the requests come one after another;
    told from the log unless given."""


class _Visits(NamedTuple):
    """Each step of each sequence: V visits, by step and then sequence. L layers."""

    step: I64  # [V] from 0 on, without gaps
    sequence: I64  # [V]
    tokens: I64  # [V] of the sequence, with the new one
    before: I64  # [V] tokens before, which an earlier step has appended or the prompt holds
    entry: I64  # [V, L] of the log


def import_selections(
    path: Path,
    form: str,
    out: Path,
    spec: SelectionSpec,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write logged selections as a trace file.

    Args:
        path: The log: a file, or a folder of one .npy file a layer.
        form: A key of `hmsim.exchange.selection_logs.READERS`.
        out: The trace file.
        spec: What the log does not say.
        progress: Called with the number of steps done so far.

    Raises:
        InputError: The log is malformed, or it contradicts itself or the model: the line is named.
    """
    model = resolve_model(spec.model)
    with reading(path, form) as log:
        layers = np.unique(log.layer)
        _check_layers(path, layers, model)
        visits = _visits(path, log, layers, spec)
        count = int(visits.sequence.max()) + 1
        last = np.zeros(count, np.int64)
        np.maximum.at(last, visits.sequence, visits.tokens)
        widths = -(-last // spec.block_tokens)
        blocks = int(widths.sum()) * layers.size
        machine.need_memory(BLOCK_BYTES * blocks, f"{path}: {blocks:,} blocks")
        base = np.cumsum(widths) - widths  # of a sequence's blocks, in a layer's
        entry = model.layer(int(layers[0])).kv_bytes
        state = sum(model.layer(int(layer)).state_bytes for layer in layers)
        batch = np.bincount(visits.step)
        header = Header(
            block_bytes=spec.block_tokens * entry,
            tokens_per_block=spec.block_tokens,
            layers=int(layers[-1]) + 1,
            sequences=count,
            resident_bytes=model.resident + float(batch.max()) * state,
            title=f"{path.name}: selections of {model.title or 'a model'}",
            created_by=f"hmsim {hmsim.__version__}",
        )
        table = _blocks(visits, layers, widths, base, spec.block_tokens)
        slabs = _slabs(log, visits, layers, base, int(widths.sum()), entry, spec, model, progress)
        write_trace(out, header, table, slabs, [path])


def _check_layers(path: Path, layers: I64, model: LlmModel) -> None:
    name = model.title or "the model"
    if layers[-1] >= model.layers:
        raise InputError(
            f"{path}: layer {layers[-1]}: {name} has layers 0 to {model.layers - 1}; name the "
            "model of the log with --set model=NAME"
        )
    sizes = sorted({model.layer(int(layer)).kv_bytes for layer in layers})
    if len(sizes) > 1 or sizes == [0]:
        raise InputError(f"{path}: the layers of {name} keep {sizes} bytes of KV a token; "
                         "selections need layers that keep the same")  # fmt: skip
    if layers.size < model.layers:
        warnings.warn(
            f"{path}: selections of {layers.size} of the {model.layers} layers of {name}; the "
            "others are left out, their weights stay resident",
            InputWarning,
            stacklevel=3,
        )


def _visits(path: Path, log: Log, layers: I64, spec: SelectionSpec) -> _Visits:
    """Who decodes when; InputError where the log contradicts itself or lacks an entry."""
    order = np.lexsort((log.layer, log.sequence, log.step))
    keys = np.stack([log.step[order], log.sequence[order], log.layer[order]])
    same = np.flatnonzero((keys[:, 1:] == keys[:, :-1]).all(axis=0))
    if same.size:
        one, other = sorted(log.place[order[same[0] : same[0] + 2]].tolist())
        _refuse(path, f"line {other}: the same step, sequence and layer as line {one}")
    heads = np.append(True, (keys[:2, 1:] != keys[:2, :-1]).any(axis=0))
    starts = np.flatnonzero(heads)
    sizes = np.diff(np.append(starts, order.size))
    short = np.flatnonzero(sizes != layers.size)
    if short.size:
        start, size = starts[short[0]], sizes[short[0]]
        lacking = np.setdiff1d(layers, keys[2, start : start + size])[0]
        _refuse(path, f"step {keys[0, start]}: no selection of layer {lacking} for the sequence "
                f"of line {log.place[order[start]]}")  # fmt: skip
    entry = order.reshape(-1, layers.size)
    step, sequence, tokens = log.step[entry[:, 0]], log.sequence[entry[:, 0]], log.tokens[entry]
    wrong = np.flatnonzero((tokens != tokens[:, :1]).any(axis=1))
    if wrong.size:
        places = sorted(log.place[entry[wrong[0]]].tolist())
        _refuse(path, f"lines {places[0]} to {places[-1]}: a sequence with two lengths at one step")
    length = tokens[:, 0]
    if (spec.requests or _order(path, log)) == "in-turn":
        turn = np.lexsort((step, sequence))
        entry, sequence, length = entry[turn], sequence[turn], length[turn]
        step = np.arange(turn.size)
    else:
        step = np.unique(step, return_inverse=True)[1]
    if length[0] < 0:
        length = _prompt(path, log, entry, step, spec) + step + 1
    elif spec.prompt is not None:
        _refuse(path, "prompt: the log says how long sequences are; leave it out")
    before = np.full(step.size, -1, np.int64)
    by_sequence = np.lexsort((step, sequence))
    follows = sequence[by_sequence][1:] == sequence[by_sequence][:-1]
    before[by_sequence[1:][follows]] = length[by_sequence[:-1][follows]]
    shrunk = np.flatnonzero(before >= length)
    if shrunk.size:
        line = log.place[entry[shrunk[0], 0]]
        _refuse(path, f"line {line}: the sequence has {length[shrunk[0]]:,} tokens, no more than "
                f"at its step before ({before[shrunk[0]]:,})")  # fmt: skip
    # A sequence that comes later brings its prompt; the first ones have it.
    before = np.where(before < 0, np.where(step == 0, length - 1, 0), before)
    _check_selected(path, log, entry, length, spec.block_tokens)
    return _Visits(step, sequence, length, before, entry)


def _order(path: Path, log: Log) -> str:
    """Whether requests decode together: not where each ends in the log before the next begins, and
    steps are but positions in their own sequence, as a model that takes them in turn counts."""
    alone = (np.diff(log.sequence) >= 0).all() and log.sequence[-1] > 0
    if not alone or (log.step != log.tokens - 1).any():
        return "together"
    warnings.warn(
        f"{path}: steps are positions in each request, so requests are taken in turn; --set "
        "requests=together makes one step of equal numbers",
        InputWarning,
        stacklevel=4,
    )
    return "in-turn"


def _prompt(path: Path, log: Log, entry: I64, step: I64, spec: SelectionSpec) -> int:
    """Tokens before the first step: as given, or the fewest with which all that is read exists."""
    if spec.prompt is not None:
        return spec.prompt
    highest = np.zeros(len(entry), np.int64)
    for visit, entries in enumerate(entry):
        ends = log.offset[entries + 1][log.offset[entries + 1] > log.offset[entries]]
        highest[visit] = log.selected[ends - 1].max(initial=0)
    found = max(int((highest * spec.block_tokens - step).max()), 1)
    warnings.warn(
        f"{path}: prompt: taken as {found:,} tokens, the fewest with which every selected block "
        "exists; --set prompt=N says how many they were",
        InputWarning,
        stacklevel=4,
    )
    return found


def _check_selected(path: Path, log: Log, entry: I64, length: I64, block_tokens: int) -> None:
    """InputError for a block that no token of the sequence is in yet; tokens were checked before."""
    if not log.blocks:
        return
    for visit, entries in enumerate(entry):
        last = (int(length[visit]) - 1) // block_tokens
        for each in entries:
            end = log.offset[each + 1]
            if end > log.offset[each] and log.selected[end - 1] > last:
                where = "step" if log.tokens[each] < 0 else "line"
                _refuse(path, f"{where} {log.place[each]}, layer {log.layer[each]}: block "
                        f"{log.selected[end - 1]:,}: {length[visit]:,} tokens are in blocks 0 to "
                        f"{last:,} of {block_tokens}")  # fmt: skip


def _refuse(path: Path, what: str) -> NoReturn:
    raise InputError(f"{path}: {what}")


def _blocks(visits: _Visits, layers: I64, widths: I64, base: I64, block_tokens: int) -> Blocks:
    """All blocks, with the steps of their lives."""
    width, depth = int(widths.sum()), layers.size
    steps = (int(visits.step.max()) + 1) * depth
    sequence = np.repeat(np.arange(widths.size), widths)
    position = np.arange(width) - base[sequence]
    birth = np.full(width, -1, np.int64)
    death = np.zeros(width, np.int64)
    for k in range(visits.step.size):
        s, first = visits.sequence[k], -(-visits.before[k] // block_tokens)
        own = slice(base[s] + first, base[s] + (visits.tokens[k] - 1) // block_tokens + 1)
        birth[own] = visits.step[k]
        death[base[s] : base[s] + widths[s]] = (visits.step[k] + 1) * depth
    lane = np.arange(depth)[:, None]
    born = np.where(birth < 0, -1, birth * depth + lane)
    return Blocks(
        np.repeat(layers, width),
        np.tile(sequence, depth),
        np.tile(position, depth),
        born.reshape(-1),
        np.minimum(np.tile(death, depth), steps),
    )


def _slabs(
    log: Log,
    visits: _Visits,
    layers: I64,
    base: I64,
    width: int,
    entry: int,
    spec: SelectionSpec,
    model: LlmModel,
    progress: Callable[[int], None] | None,
) -> Iterator[Slab]:
    """The steps, token by token and layer by layer."""
    size = spec.block_tokens
    offset = np.append(0, np.cumsum(np.bincount(visits.step)))
    state = np.array([model.layer(int(layer)).state_bytes for layer in layers])
    weights: dict[int, np.ndarray] = {}
    rows: list[tuple[I64, I64, I64]] = []  # read, appended to, bytes appended
    tokens: list[int] = []
    hbm: list[np.ndarray] = []
    first = held = 0

    def slab() -> Slab:
        read, to, added = (list(column) for column in zip(*rows, strict=True))
        return Slab(
            first,
            np.repeat(tokens, layers.size),
            np.tile(layers, len(tokens)),
            np.concatenate(hbm),
            np.zeros(len(rows)),
            np.append(0, np.cumsum([each.size for each in read])),
            np.concatenate(read),
            np.append(0, np.cumsum([each.size for each in to])),
            np.concatenate(to),
            np.concatenate(added),
        )

    for t in range(offset.size - 1):
        now = range(offset[t], offset[t + 1])
        batch = len(now)
        if batch not in weights:
            each = [model.weights_step(batch, int(layer)) for layer in layers]
            weights[batch] = np.array(each) + 2 * state * batch
        to, added = [], []
        for k in now:
            span = np.arange(visits.before[k] // size, (visits.tokens[k] - 1) // size + 1)
            to.append(base[visits.sequence[k]] + span)
            ends = np.minimum((span + 1) * size, visits.tokens[k])
            added.append(entry * (ends - np.maximum(span * size, visits.before[k])))
        appended, sizes = np.concatenate(to), np.concatenate(added)
        for lane in range(layers.size):
            read = []
            for k in now:
                e = visits.entry[k, lane]
                chosen = np.asarray(log.selected[log.offset[e] : log.offset[e + 1]])
                chosen = chosen if log.blocks else np.unique(chosen // size)
                read.append(base[visits.sequence[k]] + chosen)
            rows.append((lane * width + np.concatenate(read), lane * width + appended, sizes))
            held += rows[-1][0].size
        tokens.append(t)
        past = float((visits.tokens[offset[t] : offset[t + 1]] - 1).sum())
        hbm.append(weights[batch] + spec.index_bytes * past)
        if held >= SLAB_READS or len(rows) >= SLAB_STEPS:
            yield slab()
            first += len(rows)
            for column in (rows, tokens, hbm):
                column.clear()
            held = 0
            if progress is not None:
                progress(first)
    if rows:
        yield slab()
