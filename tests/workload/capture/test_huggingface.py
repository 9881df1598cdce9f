"""Capture on a small Llama with random weights, against attention worked out from its own keys."""

import numpy as np
import pytest

from hmsim.errors import InputError
from hmsim.store.trace import TraceFile

torch = pytest.importorskip("torch", reason="needs hmsim[capture]")
transformers = pytest.importorskip("transformers", reason="needs hmsim[capture]")

from hmsim.workload.capture import huggingface as module  # noqa: E402 (after the extra is known to be there)
from hmsim.workload.capture.huggingface import capture  # noqa: E402

LAYERS, PROMPT, STEPS, SIZE = 3, 37, 6, 4


@pytest.fixture(scope="module")
def model():
    config = transformers.LlamaConfig(
        vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
    )  # fmt: skip
    torch.manual_seed(3)
    return transformers.LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def prompt():
    return torch.randint(0, 97, (2, PROMPT), generator=torch.Generator().manual_seed(5))


def attention(model, prompt):
    """[step][layer] attention weights [B, heads, past], from the model's own eager attention."""
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            output = model(prompt, use_cache=True)
            rows = []
            for _ in range(STEPS):
                following = output.logits[:, -1:].argmax(-1)
                output = model(
                    following, past_key_values=output.past_key_values, use_cache=True,
                    output_attentions=True,
                )  # fmt: skip
                rows.append([weights[:, :, 0].numpy() for weights in output.attentions])
        return rows
    finally:
        model.set_attn_implementation("sdpa")


def reads(path):
    """[step][layer] sets of (sequence, page)."""
    file = TraceFile(path)
    (slab,) = file.slabs()
    names = list(zip(file.blocks.sequence.tolist(), file.blocks.position.tolist(), strict=True))
    sets = [
        {names[b] for b in slab.read_block[slab.read_offset[k] : slab.read_offset[k + 1]]}
        for k in range(file.steps)
    ]
    return file, [sets[k : k + LAYERS] for k in range(0, len(sets), LAYERS)]


def test_exact_selection_is_by_the_models_own_attention(tmp_path, model, prompt):
    capture(model, prompt, tmp_path / "t.h5", STEPS, budget=12, rule="exact", block_tokens=SIZE)
    file, found = reads(tmp_path / "t.h5")
    assert (file.steps, file.header.sequences, file.header.tokens_per_block) == (18, 2, SIZE)
    assert file.header.block_bytes == SIZE * 2 * 2 * 16 * 4
    for step, layers in enumerate(attention(model, prompt)):
        for layer, weights in enumerate(layers):
            past = weights[:, :, :-1].mean(axis=1)  # without the new token itself
            assert past.shape[1] == PROMPT + step
            for sequence, row in enumerate(past):
                mass = np.add.reduceat(row, np.arange(0, row.size, SIZE))
                best = set(np.argsort(mass)[-3:].tolist())
                assert {p for s, p in found[step][layer] if s == sequence} == best


def test_quest_bounds_every_logit_of_a_page():
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(2, 1, 8, generator=generator)
    key = torch.randn(2, 1, 11, 8, generator=generator)  # the last is the new token's own
    bound = module.quest(query, key, 0.5, 4)
    logits = (query[:, :, None] @ key.transpose(-1, -2))[:, 0, 0, :-1] * 0.5
    assert bound.shape == (2, 3)
    for page in range(3):
        here = logits[:, 4 * page : 4 * page + 4]
        assert (bound[:, page] >= here.amax(dim=1) - 1e-6).all()
    single = module.quest(query, key, 0.5, 1)  # a page of one token: the logit itself
    torch.testing.assert_close(single, logits)


def test_quest_selection_is_a_legal_trace_of_the_budget(tmp_path, model, prompt):
    capture(model, prompt, tmp_path / "t.h5", STEPS, budget=12, block_tokens=SIZE)
    _, found = reads(tmp_path / "t.h5")
    assert {len(pages) for layers in found for pages in layers} == {2 * 3}
    assert model.config._attn_implementation == "sdpa"  # as it was


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"rule": "qest"}, "rule 'qest': unknown; did you mean 'quest'"),
        ({"budget": 13}, "budget: 13 tokens are no multiple of block_tokens, 4"),
        ({"budget": 400}, "budget: 400 tokens are more than the context, 43"),
        ({"steps": 0}, "steps: must be 1 or more"),
    ],
)
def test_bad_calls_are_refused(tmp_path, model, prompt, changes, complaint):
    call = {"steps": STEPS, "budget": 12, "block_tokens": SIZE} | changes
    with pytest.raises(InputError, match=complaint):
        capture(model, prompt, tmp_path / "t.h5", **call)
    assert list(tmp_path.iterdir()) == []
