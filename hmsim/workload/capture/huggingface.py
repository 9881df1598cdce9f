"""Traces of real models: which blocks sparse attention would read while a Hugging Face model decodes.

Needs the extra `hmsim[capture]`. The model decodes with its own full attention; beside it every
layer's query and keys are ranked by block, and the best blocks of each layer are recorded.

    from transformers import AutoModelForCausalLM, AutoTokenizer
    from hmsim.workload.capture.huggingface import capture

    name = "meta-llama/Llama-3.1-8B"
    model = AutoModelForCausalLM.from_pretrained(name, dtype="auto", device_map="auto")
    prompt = AutoTokenizer.from_pretrained(name)(open("book.txt").read(), return_tensors="pt")
    capture(model, prompt.input_ids, "book.h5", steps=200, budget=2048, rule="quest")
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import hmsim
from hmsim.errors import InputError, did_you_mean
from hmsim.store.trace import Blocks, Header, Slab, write_trace
from hmsim.workload.steps import I64

_NAME = "hmsim_capture"


def exact(query: torch.Tensor, key: torch.Tensor, scaling: float, size: int) -> torch.Tensor:
    """Attention mass of each block, mean over heads: query [B, H, D], key [B, G, N, D] -> [B, P].

    The last key is the new token's own: it takes its share of the mass and is in no block.
    """
    groups = query.shape[1] // key.shape[1]
    logits = query[:, :, None] @ key.repeat_interleave(groups, dim=1).transpose(-1, -2)
    mass = torch.softmax(logits[:, :, 0].float() * scaling, dim=-1).mean(dim=1)
    return _blocks(mass[:, :-1], size, 0.0).sum(dim=-1)


def quest(query: torch.Tensor, key: torch.Tensor, scaling: float, size: int) -> torch.Tensor:
    """Quest's bound on the logits in each block, mean over heads (arXiv 2406.10774); as `exact`.

    From the least and largest element of the keys of a block, channel by channel.
    """
    groups = query.shape[1] // key.shape[1]
    across = key[:, :, :-1].float().transpose(-1, -2)  # [B, G, D, N - 1]
    least = _blocks(across, size, torch.inf).amin(dim=-1).repeat_interleave(groups, dim=1)
    most = _blocks(across, size, -torch.inf).amax(dim=-1).repeat_interleave(groups, dim=1)
    channel = query.float()[..., None]
    return torch.maximum(channel * least, channel * most).sum(dim=2).mean(dim=1) * scaling


RULES: dict[str, Callable[[torch.Tensor, torch.Tensor, float, int], torch.Tensor]] = {
    "exact": exact,
    "quest": quest,
}


def capture(
    model: Any,
    input_ids: torch.Tensor,
    path: str | Path,
    steps: int,
    budget: int,
    rule: str = "quest",
    block_tokens: int = 16,
) -> None:
    """Decode `steps` tokens greedily after the prompts and write what would be read to `path`.

    input_ids [B, n]: prompts of one length, one sequence each. At every decode step and layer the
    best `budget` // `block_tokens` blocks of each sequence by `rule` (a key of RULES) are read.
    Raises InputError for a rule, a budget or a prompt that cannot be.
    """
    if rule not in RULES:
        raise InputError(f"rule {rule!r}: unknown{did_you_mean(rule, RULES)}")
    if budget < block_tokens or budget % block_tokens:
        raise InputError(f"budget: {budget} tokens are no multiple of block_tokens, {block_tokens}")
    batch, first = input_ids.shape
    if budget > first + steps:
        raise InputError(f"budget: {budget} tokens are more than the context, {first + steps}")
    if steps < 1:
        raise InputError("steps: must be 1 or more")
    record = _Record(RULES[rule], block_tokens, budget // block_tokens)
    with torch.no_grad(), _attention(model, record):
        output = model(input_ids.to(model.device), use_cache=True)
        for _ in range(steps):
            following = output.logits[:, -1:].argmax(dim=-1)
            output = model(following, past_key_values=output.past_key_values, use_cache=True)
    layers = len(record.read) // steps
    weights, resident = _weights(model)
    _write(Path(path), record, batch, first, steps, layers, weights / layers, resident, rule)


class _Record:
    """What the hooked attention sees: blocks read, step by step and layer by layer."""

    def __init__(self, rule: Callable[..., torch.Tensor], size: int, blocks: int) -> None:
        self.rule, self.size, self.blocks = rule, size, blocks
        self.read: list[list[I64]] = []  # [step * layers + layer][sequence]
        self.entry_bytes = 0  # of a token and layer

    def see(self, query: torch.Tensor, key: torch.Tensor, scaling: float) -> None:
        """One decode step of one layer: query [B, H, 1, D], key [B, G, N, D]."""
        score = self.rule(query[:, :, 0], key, scaling, self.size)
        best = score.topk(min(self.blocks, score.shape[1]), dim=1).indices
        self.read.append([np.sort(row).astype(np.int64) for row in best.cpu().numpy()])
        self.entry_bytes = 2 * key.shape[1] * key.shape[3] * key.element_size()


@contextmanager
def _attention(model: Any, record: _Record) -> Iterator[None]:
    """Every attention layer of the model reports to `record`, and attends as before."""
    before = model.config._attn_implementation
    attend = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def reporting(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
        attention_mask: Any, **options: Any,
    ) -> Any:  # fmt: skip
        if query.shape[2] == 1:
            scaling = options.get("scaling") or query.shape[-1] ** -0.5
            record.see(query, key, scaling)
        return attend(module, query, key, value, attention_mask, **options)

    AttentionInterface.register(_NAME, reporting)
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _blocks(values: torch.Tensor, size: int, fill: float) -> torch.Tensor:
    """The last axis cut into blocks of `size`, the last one filled up: [.., N] -> [.., P, size]."""
    missing = -values.shape[-1] % size
    return torch.nn.functional.pad(values, (0, missing), value=fill).unflatten(-1, (-1, size))


def _weights(model: Any) -> tuple[float, float]:
    """Bytes of weights read a token (all but the input embeddings), and bytes of all weights."""
    every = {id(p): p.numel() * p.element_size() for p in model.parameters()}
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    tied = head is not None and head.weight is embedding
    unread = 0 if tied else embedding.numel() * embedding.element_size()
    return float(sum(every.values()) - unread), float(sum(every.values()))


def _write(
    path: Path, record: _Record, batch: int, first: int, steps: int, layers: int, weights: float,
    resident: float, rule: str,
) -> None:  # fmt: skip
    """Blocks are numbered by layer, sequence and position, so that a step's are ascending."""
    size, entry = record.size, record.entry_bytes
    width = -(-(first + steps) // size)
    layer, rest = np.divmod(np.arange(layers * batch * width), batch * width)
    sequence, block = np.divmod(rest, width)
    start = block * size
    birth = np.where(start < first, -1, (start - first) * layers + layer)
    total = steps * layers
    step_token, step_layer = np.divmod(np.arange(total), layers)
    base = (step_layer[:, None] * batch + np.arange(batch)) * width
    reads = [
        base[step, s] + blocks
        for step, row in enumerate(record.read)
        for s, blocks in enumerate(row)
    ]
    lengths = np.array([sum(map(len, row)) for row in record.read])
    slab = Slab(
        0,
        first + step_token,
        step_layer,
        np.full(total, weights),
        np.zeros(total),
        np.append(0, np.cumsum(lengths)),
        np.concatenate(reads),
        np.arange(total + 1) * batch,
        (base + ((first + step_token) // size)[:, None]).reshape(-1),
        np.full(total * batch, entry),
    )
    header = Header(
        block_bytes=size * entry,
        tokens_per_block=size,
        layers=layers,
        sequences=batch,
        resident_bytes=resident,
        title=f"captured, {rule}, {record.blocks * size} tokens",
        created_by=f"hmsim {hmsim.__version__}",
    )
    write_trace(
        path, header, Blocks(layer, sequence, block, birth, np.full_like(birth, total)), [slab]
    )
