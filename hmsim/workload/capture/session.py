"""`hmsim workload capture`: a model runs over a text, and every rule's reads become a trace file.

A capture takes minutes, so what it has done so far lies in a folder beside its output, as arrays
that are mapped into memory: the KV cache, the tokens, the blocks read. `done` counts the tokens
whose entries are complete. A call that was stopped, in whatever way, goes on there when it is made
again, and comes to the same result.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import hmsim
from hmsim import files, machine
from hmsim.bits import numbers, pack
from hmsim.config.capture import RuleSpec
from hmsim.errors import InputError
from hmsim.store.trace import SLAB_READS, Blocks, Header, Slab, write_trace
from hmsim.workload.capture import rules
from hmsim.workload.capture.gguf_file import Found
from hmsim.workload.capture.llama import F32, Shape, cache_shape, forward
from hmsim.workload.capture.rules import Attention
from hmsim.workload.steps import I64

CHUNK = 256  # tokens of the prompt that go through the model at once
ELEMENT_BYTES = 2  # of a key or value channel in the trace: FP16
SAMPLED_TEMPERATURE = 1.0


class Call(NamedTuple):
    """What is captured."""

    text: Path
    prompt: int  # tokens before the first step
    decode: int  # token steps
    rules: list[RuleSpec]
    follow: str = "text"  # who says the next token: the text, or the model
    temperature: float = SAMPLED_TEMPERATURE  # of the model's choice; 0: the likeliest token
    seed: int = 0
    weights: bool = False  # whether the trace counts them


def outputs(path: Path, specs: list[RuleSpec]) -> list[Path]:
    """The trace files: `path`, or with several rules one a rule, `NAME-RULE.h5`."""
    if len(specs) == 1:
        return [path]
    found = [path.with_name(f"{path.stem}-{spec.name}{path.suffix}") for spec in specs]
    if len(set(found)) < len(found):
        raise InputError("--rule: two rules have one name; give each of them once")
    return found


def check(call: Call, path: Path, inputs: list[Path]) -> list[Path]:
    """The trace files of a call; InputError where they, or their sidecars, cannot be written."""
    paths = outputs(path, call.rules)
    files.check_outputs([*paths, *(sidecar_of(each) for each in paths)], inputs)
    if call.prompt < 1 or call.decode < 1:
        raise InputError("--prompt and --decode: 1 token or more each")
    return paths


def capture(
    found: Found, call: Call, path: Path, progress: Callable[[int], None] | None = None
) -> list[Path]:
    """Run the model over the text and write a trace and its sidecar (`.meta.json`) a rule.

    Args:
        found: The model.
        call: What is captured.
        path: The trace file; see `outputs`.
        progress: Called with the number of tokens that more are done.

    Returns:
        The trace files.

    Raises:
        InputError: The text is too short, or prompt and decode are beyond the model's context; a
            file cannot be written; or what another call left off stands in the way.
    """
    paths = check(call, path, [found.path, call.text])
    sidecars = [sidecar_of(each) for each in paths]
    tokens, digest = _tokens(found, call)
    shape = found.model.shape
    folder = path.with_name(path.name + ".part")
    size = sum(_bytes(kind, size) for kind, size in _arrays(shape, call).values())
    machine.need_memory(size, f"{path}: keys, values and reads of {tokens.size:,} tokens")
    _make(folder)
    with files.locked(folder / "lock", f"{path}: another process captures into it"):
        provenance = _provenance(found, call, digest)
        specs = [each.model_dump(exclude_none=True) for each in call.rules]
        state = _State(folder, provenance | {"rules": specs}, _arrays(shape, call))
        state["tokens"][: tokens.size] = tokens
        try:
            _run(found, call, state, progress or (lambda _: None))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"{int(state['done'][0]):,} tokens are kept in {folder}; the same call goes on there"
            ) from None
        for number, (spec, to, sidecar) in enumerate(zip(call.rules, paths, sidecars, strict=True)):
            header, blocks, slabs = _trace(found, call, spec, state[f"reads-{number}"])
            write_trace(to, header, blocks, slabs, [found.path, call.text])
            said = _measured(provenance, spec, state, number)
            files.write_text(sidecar, json.dumps(said, indent=1) + "\n")
    shutil.rmtree(folder)
    return paths


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {files.reason(error)}") from None


def sidecar_of(path: Path) -> Path:
    """The file beside a captured trace that says where it comes from."""
    return path.with_name(path.name + ".meta.json")


def _tokens(found: Found, call: Call) -> tuple[I64, str]:
    """The text's tokens that are used, and its SHA-256."""
    total, context = call.prompt + call.decode, found.model.shape.context
    if total > context:
        raise InputError(f"--prompt and --decode: {total:,} tokens are more than the context of "
                         f"{found.name}, {context:,}")  # fmt: skip
    wanted = total if call.follow == "text" else call.prompt
    tokens = found.tokenizer.encode(files.read_text(call.text), wanted)
    if tokens.size < wanted:
        raise InputError(f"{call.text}: {tokens.size:,} tokens: {wanted:,} are needed")
    return tokens, files.sha256(call.text)


def _arrays(shape: Shape, call: Call) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Everything that a capture keeps: type and shape by name."""
    total, by_layer = call.prompt + call.decode, (call.decode, shape.layers)
    found: dict[str, tuple[Any, tuple[int, ...]]] = {
        "done": (np.int64, (1,)),
        "tokens": (np.int64, (total + 1,)),
        "cache": (np.float32, cache_shape(shape, total)),
        "own": (np.float32, by_layer),  # attention mass of the new token itself
        "first": (np.float32, by_layer),  # and of the sequence's first token
    }
    for number, spec in enumerate(call.rules):
        lanes = shape.layers * rules.lanes(spec, shape.groups)
        words = -(-_width(call, spec) // 64)
        found[f"reads-{number}"] = (np.uint64, (call.decode, lanes, words))
        found[f"held-{number}"] = (np.float32, by_layer)
    return found


def _width(call: Call, spec: RuleSpec) -> int:
    """Blocks of a lane."""
    return -(-(call.prompt + call.decode) // spec.block_tokens)


def _bytes(kind: Any, size: tuple[int, ...]) -> int:
    return int(np.prod(size)) * np.dtype(kind).itemsize


class _State:
    """The folder's arrays by name, new or as a call of the same kind left them."""

    def __init__(
        self, folder: Path, call: dict[str, Any], arrays: dict[str, tuple[Any, tuple[int, ...]]]
    ) -> None:
        said = folder / "call.json"
        if said.exists():
            if files.read_json(said) != call:
                raise InputError(f"{folder}: holds another capture that was stopped; make that "
                                 "call again, remove the folder, or name another output")  # fmt: skip
        else:
            try:
                for name, (kind, size) in arrays.items():
                    _zeros(folder / name, _bytes(kind, size))
            except OSError as error:
                raise InputError(f"{folder}: cannot be written: {files.reason(error)}") from None
            files.write_text(said, json.dumps(call, indent=1))
        # Plain arrays, whose slices cost less than a memmap's.
        self._arrays = {
            name: np.asarray(np.memmap(folder / name, kind, "r+", shape=size))
            for name, (kind, size) in arrays.items()
        }

    def __getitem__(self, name: str) -> Any:
        return self._arrays[name]


def _zeros(path: Path, size: int) -> None:
    """A file of so many zeros that are there: a hole would end the process once the disk is full."""
    piece = bytes(1 << 20)
    with open(path, "wb") as file:
        for start in range(0, size, len(piece)):
            file.write(piece[: size - start])


def _run(found: Found, call: Call, state: _State, progress: Callable[[int], None]) -> None:
    """Every token that is not done yet."""
    model, tokens, cache, done = found.model, state["tokens"], state["cache"], state["done"]
    total = call.prompt + call.decode
    progress(int(done[0]))
    while done[0] < call.prompt:
        first = int(done[0])
        last = min(first + CHUNK, call.prompt)
        logits = forward(model, tokens[first:last], first, cache)
        if last == call.prompt and call.follow == "model":
            tokens[last] = _next(call, logits, last)
        done[0] = last
        progress(last - first)
    watch = _Watch(call, state, model.shape)
    with _one_thread():
        while done[0] < total:
            at = int(done[0])
            logits = forward(model, tokens[at : at + 1], at, cache, watch.look)
            if call.follow == "model":
                tokens[at + 1] = _next(call, logits, at + 1)
            done[0] = at + 1
            progress(1)


def _one_thread() -> Any:
    """BLAS on one thread: a token's products are bound by memory, and threads wait for each other."""
    try:
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        return nullcontext()
    return threadpool_limits(1, "blas")


def _next(call: Call, logits: F32, position: int) -> int:
    """The model's choice of the token at `position`."""
    if call.temperature == 0:
        return int(logits.argmax())
    scaled = logits.astype(np.float64) / call.temperature
    share = np.exp(scaled - scaled.max())
    random = np.random.default_rng([call.seed, position])
    return int(np.searchsorted(np.cumsum(share), random.random() * share.sum(), side="right"))


class _Watch:
    """What every rule reads of a token, layer by layer."""

    def __init__(self, call: Call, state: _State, shape: Shape) -> None:
        self.call, self.state, self.shape = call, state, shape
        self.pages = {spec.block_tokens for spec in call.rules if spec.rule == "quest"}
        self.extremes: dict[tuple[int, int], tuple[F32, F32]] = {}

    def look(self, layer: int, query: F32, keys: F32, weights: F32) -> None:
        """A `llama.Look`."""
        past = weights.shape[2] - 1
        step, state = past - self.call.prompt, self.state
        mass = weights[:, :, :-1]
        seen = Attention(
            query, mass, {size: self._extremes(layer, keys[:, :past], size) for size in self.pages}
        )
        state["own"][step, layer] = weights[:, :, -1].mean()
        state["first"][step, layer] = mass[:, :, 0].mean()
        for number, spec in enumerate(self.call.rules):
            chosen = rules.select(spec, seen)
            lanes, bits = chosen.shape[0], pack(chosen)
            reads = state[f"reads-{number}"][step, layer * lanes : (layer + 1) * lanes]
            reads[:] = 0
            reads[:, : bits.shape[1]] = bits
            state[f"held-{number}"][step, layer] = rules.held(spec, chosen, mass)

    def _extremes(self, layer: int, keys: F32, size: int) -> tuple[F32, F32]:
        """Of all pages; those that were full at the token before have not changed since."""
        known = self.extremes.get((layer, size))
        if known is None:
            known = rules.extremes(keys, size)
        else:
            full = (keys.shape[1] - 1) // size
            newest = rules.extremes(keys[:, full * size :], size)
            least, most = (np.concatenate([a[:, :full], b], axis=1)
                           for a, b in zip(known, newest, strict=True))  # fmt: skip
            known = least, most
        self.extremes[layer, size] = known
        return known


def _trace(
    found: Found, call: Call, spec: RuleSpec, reads: Any
) -> tuple[Header, Blocks, Iterator[Slab]]:
    """The trace: blocks are numbered by lane and position, so that a step's are ascending."""
    shape, size, width = found.model.shape, spec.block_tokens, _width(call, spec)
    per_layer = rules.lanes(spec, shape.groups)
    lanes = shape.layers * per_layer
    entry = 2 * shape.groups // per_layer * shape.channels * ELEMENT_BYTES
    lane, position = np.divmod(np.arange(lanes * width), width)
    start = position * size
    birth = np.where(start < call.prompt, -1, (start - call.prompt) * lanes + lane)
    steps = call.decode * lanes
    step_token, step_lane = np.divmod(np.arange(steps), lanes)
    token = call.prompt + step_token
    weights = np.zeros(lanes)
    if call.weights:
        weights[per_layer - 1 :: per_layer] = found.layer_bytes
        weights[-1] += found.other_bytes
    header = Header(
        block_bytes=size * entry,
        tokens_per_block=size,
        layers=lanes,
        sequences=1,
        resident_bytes=float(sum(found.layer_bytes) + found.other_bytes) if call.weights else 0.0,
        title=f"{found.name} over {call.text.name}, {spec.name}",
        seed=call.seed,
        created_by=f"hmsim {hmsim.__version__}",
    )

    def slabs() -> Iterator[Slab]:
        count = max(1, SLAB_READS // (lanes * width))  # token steps
        for first in range(0, call.decode, count):
            rows = reads[first : first + count].reshape(-1, reads.shape[2])
            own = slice(first * lanes, first * lanes + rows.shape[0])
            step, block = np.divmod(numbers(rows), reads.shape[2] * 64)
            lengths = np.bincount(step, minlength=rows.shape[0])
            yield Slab(
                own.start,
                token[own],
                step_lane[own],
                weights[step_lane[own]],
                np.zeros(rows.shape[0]),
                np.append(0, np.cumsum(lengths)),
                step % lanes * width + block,
                np.arange(rows.shape[0] + 1),
                step_lane[own] * width + token[own] // size,
                np.full(rows.shape[0], entry),
            )

    return (
        header,
        Blocks(lane, np.zeros_like(lane), position, birth, np.full_like(lane, steps)),
        slabs(),
    )


def _provenance(found: Found, call: Call, digest: str) -> dict[str, Any]:
    """What makes the result what it is."""
    said: dict[str, Any] = {
        "created_by": f"hmsim {hmsim.__version__}",
        "model": found.name,
        "model_file": found.path.name,
        "model_licence": found.licence,
        "model_sha256": found.sha256,
        "text": call.text.name,
        "text_sha256": digest,
        "prompt_tokens": call.prompt,
        "decoded_tokens": call.decode,
        "next_token": call.follow,
        "weights_counted": call.weights,
    }
    if call.follow == "model":
        said |= {"temperature": call.temperature, "seed": call.seed}
    return said


def _measured(
    provenance: dict[str, Any], spec: RuleSpec, state: _State, number: int
) -> dict[str, Any]:
    """The sidecar: where the trace comes from, and what of the attention it does not hold."""

    def by_layer(name: str) -> list[float]:
        return [round(float(x), 4) for x in state[name].mean(axis=0, dtype=np.float64)]

    return provenance | {
        "rule": spec.model_dump(exclude_none=True),
        "mass_by_layer": {
            "own": by_layer("own"),
            "first_token": by_layer("first"),
            "read": by_layer(f"held-{number}"),
        },
    }
