"""Small GGUF files, written with the package that reads them; what is refused by name."""

import re

import numpy as np
import pytest

from hmsim.errors import InputError

gguf = pytest.importorskip("gguf", reason="needs hmsim[gguf]")

from hmsim.workload.capture import gguf_file  # noqa: E402 (after the extra is known to be there)
from hmsim.workload.capture.llama import cache_shape, forward  # noqa: E402
from tests.oracles import llama as oracle  # noqa: E402

SHAPE = oracle.SHAPE._replace(
    width=32, inner=64, channels=8, vocabulary=23
)  # rows of whole Q8_0 blocks


def tensors_of(model):
    across, kv = SHAPE.heads * SHAPE.channels, SHAPE.groups * SHAPE.channels
    found = {"token_embd": model.embedding, "output_norm": model.norm, "output": model.head}
    for number, layer in enumerate(model.layers):
        query, key, value = np.split(layer.query_key_value, [across, across + kv])
        gate, up = np.split(layer.gate_up, 2)
        for name, part in {
            "attn_norm": layer.attention_norm, "attn_q": query, "attn_k": key, "attn_v": value,
            "attn_output": layer.attention_out, "ffn_norm": layer.inner_norm, "ffn_gate": gate,
            "ffn_up": up, "ffn_down": layer.down,
        }.items():  # fmt: skip
            found[f"blk.{number}.{name}"] = part
    return found


def write(path, model, changes=None, tensors=None, architecture="llama", quantised=False):
    """The model as a file; `changes` sets keys (None leaves one out), `tensors` adds some."""
    keys = {
        "llama.block_count": SHAPE.layers, "llama.context_length": SHAPE.context,
        "llama.embedding_length": SHAPE.width, "llama.feed_forward_length": SHAPE.inner,
        "llama.attention.head_count": SHAPE.heads, "llama.attention.head_count_kv": SHAPE.groups,
        "llama.attention.layer_norm_rms_epsilon": SHAPE.epsilon, "llama.rope.freq_base": 100.0,
        "llama.rope.dimension_count": SHAPE.channels, "general.name": "Tiny",
        "general.license": "mine", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": list("abcdefghijklmnopqrstuvw"), "tokenizer.ggml.merges": ["z z"],
    }  # fmt: skip
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in (keys | (changes or {})).items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif value is not None:
            writer.add_array(key, value)
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, values in (tensors_of(model) | (tensors or {})).items():
        if values is None:
            continue
        if quantised and values.ndim == 2:
            writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def model():
    return oracle.random_llama(1, SHAPE)


def test_a_file_gives_the_model_that_it_was_written_from(tmp_path, model):
    found = gguf_file.read(write(tmp_path / "tiny.gguf", model))
    assert found.model.shape == SHAPE._replace(epsilon=found.model.shape.epsilon)
    assert found.model.shape.epsilon == pytest.approx(SHAPE.epsilon)
    assert (found.name, found.licence) == ("Tiny", "mine")
    tokens = found.tokenizer.encode("abcabcw")
    assert tokens.tolist() == [0, 1, 2, 0, 1, 2, 22]
    cache = np.zeros(cache_shape(SHAPE, 7), np.float32)
    np.testing.assert_allclose(
        forward(found.model, tokens, 0, cache), forward(model, tokens, 0, cache.copy()), rtol=1e-5
    )
    layer = sum(v.nbytes for k, v in tensors_of(model).items() if k.startswith("blk.0"))
    assert found.layer_bytes == [layer, layer]


def test_quantised_and_tied_and_stretched(tmp_path, model):
    """Q8_0 weights, no head of its own, planes that turn slower, and a token before the text."""
    factors = np.array([1, 2, 4, 8], np.float32)
    path = write(
        tmp_path / "tiny.gguf", model,
        {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": 5},
        {"output": None, "rope_freqs": factors}, quantised=True,
    )  # fmt: skip
    found = gguf_file.read(path)
    assert found.model.head is found.model.embedding
    np.testing.assert_allclose(found.model.embedding, model.embedding, atol=0.05)
    np.testing.assert_allclose(found.model.frequencies, model.frequencies / factors, rtol=1e-6)
    assert found.tokenizer.encode("ab").tolist() == [5, 0, 1]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"architecture": "qwen2"}, "architecture 'qwen2': only 'llama' is read"),
        ({"changes": {"llama.expert_count": 8}}, "llama.expert_count = 8: not understood"),
        ({"changes": {"llama.rope.scaling.type": "yarn"}}, "rope.scaling.type = 'yarn': not under"),
        ({"changes": {"llama.rope.dimension_count": 4}}, "only that of the keys, 8, is read"),
        ({"changes": {"llama.attention.head_count_kv": 3}}, "4 heads do not share 3 KV heads evenly"),
        ({"changes": {"llama.block_count": None}}, "llama.block_count: None: expected int"),
        ({"changes": {"llama.block_count": 3}}, "tensor blk.2.attn_norm.weight is missing"),
        ({"changes": {"tokenizer.ggml.model": "llama"}}, "tokenizer 'llama': only byte-level BPE"),
        ({"changes": {"tokenizer.ggml.pre": "tekken"}}, "tokenizer 'tekken': not known"),
        ({"tensors": {"blk.0.attn_q_norm": np.ones(8, np.float32)}}, "tensor blk.0.attn_q_norm.weight"),
        ({"tensors": {"blk.0.ffn_up": np.ones((3, 32), np.float32)}}, "[3, 32]: expected [64, 32]"),
        ({"tensors": {"output_norm": np.full(32, np.nan, np.float32)}}, "holds no finite numbers"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_by_name(tmp_path, model, options, complaint):
    path = write(tmp_path / "odd.gguf", model, **options)
    with pytest.raises(InputError, match=re.escape(complaint)) as error:
        gguf_file.read(path)
    assert str(error.value).startswith(str(path))


def test_a_quantisation_that_the_package_does_not_read(tmp_path, model, monkeypatch):
    def refuse(*_):
        raise NotImplementedError("TQ9")

    path = write(tmp_path / "odd.gguf", model)
    monkeypatch.setattr(gguf.quants, "dequantize", refuse)
    with pytest.raises(InputError, match=r"attn_norm\.weight: quantisation F32: the gguf package"):
        gguf_file.read(path)


@pytest.mark.parametrize("share", [0, 0.05, 0.5, 0.95])
def test_half_a_file_is_refused(tmp_path, model, share):
    path = write(tmp_path / "cut.gguf", model)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match="not a whole GGUF file"):
        gguf_file.read(path)
