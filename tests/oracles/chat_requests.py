"""Requests like those of a chat service, in the form of the public Mooncake trace, made up here."""

import json
from pathlib import Path

import numpy as np

PREFIX = 512  # tokens that one hash id stands for


def write_chat(path: Path, count: int = 160, prompt: int = 12_000, seed: int = 3) -> Path:
    """`count` requests, all waiting within a minute: log-normal lengths about a median `prompt`, up
    to 2000 tokens of output, and a system prompt of two prefix blocks that half of them share."""
    rng = np.random.default_rng(seed)
    prompts = np.clip(rng.lognormal(np.log(prompt), 0.6, count), PREFIX * 3, 120_000).astype(int)
    outputs = np.clip(rng.lognormal(np.log(300), 0.8, count), 2, 2000).astype(int)
    arrivals = np.sort(rng.integers(0, 60_000, count))
    free = 2  # the next hash id that nobody has
    lines = []
    for arrived, tokens, answer in zip(arrivals, prompts, outputs, strict=True):
        hashes = [0, 1] if rng.random() < 0.5 else []
        own = -(-int(tokens) // PREFIX) - len(hashes)
        hashes += range(free, free + own)
        free += own
        row = {"timestamp": int(arrived), "input_length": int(tokens),
               "output_length": int(answer), "hash_ids": hashes}  # fmt: skip
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines) + "\n")
    return path
