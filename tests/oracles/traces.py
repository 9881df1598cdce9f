"""Random tiny traces: as a file written by hand from the format's description, and as a `Job`."""

from pathlib import Path

import h5py
import numpy as np

from tests.oracles.job import Job, Step
from tests.oracles.random_workloads import Blocks

SCALE = 64  # of the bytes of `random_blocks`, so that a block is some bursts long
SECONDS = 2e-8  # of its compute floors: some come above the memories' times, some below


def scaled(blocks: Blocks, resident_bytes: float) -> Blocks:
    """Random blocks at sizes that memories meet."""
    return blocks._replace(
        append=blocks.append * SCALE,
        hbm_bytes=blocks.hbm_bytes * SCALE,
        compute_s=blocks.compute_s * SECONDS,
        block_bytes=blocks.block_bytes * SCALE,
        resident_bytes=resident_bytes,
    )


def sequences_of(blocks: Blocks, sequences: int) -> np.ndarray:
    """Which sequence each block belongs to."""
    return np.arange(len(blocks.number)) % sequences


def write(path: Path, blocks: Blocks, sequences: int = 1) -> Path:
    """The trace file, dataset by dataset."""
    order = np.argsort(blocks.number)
    steps = len(blocks.lane)
    reads = [np.flatnonzero(blocks.read[order, t]) for t in range(steps)]
    grown = [np.flatnonzero(blocks.append[order, t]) for t in range(steps)]
    sizes = [blocks.append[order, t][at] for t, at in enumerate(grown)]
    layer = blocks.number[order] // blocks.slots
    position = np.array([(layer[:n] == layer[n]).sum() for n in range(len(order))], int)
    path.unlink(missing_ok=True)  # whoever has an older one open keeps it
    with h5py.File(path, "w") as file:
        file.attrs.update(
            {"format": "hmsim-trace", "version": 1, "title": "tiny", "seed": 0, "generator": "",
             "created_by": "by hand", "block_bytes": blocks.block_bytes, "layers": blocks.lanes,
             "tokens_per_block": blocks.tokens_per_block, "sequences": sequences,
             "resident_bytes": blocks.resident_bytes}
        )  # fmt: skip
        for name, kind, values in (
            ("block/layer", "u2", layer),
            ("block/sequence", "u4", sequences_of(blocks, sequences)),
            ("block/position", "u4", position),
            ("block/birth", "i4", blocks.birth[order]),
            ("block/death", "i4", blocks.death[order]),
            ("step/token", "i4", blocks.token),
            ("step/layer", "i2", blocks.lane),
            ("step/hbm_bytes", "f8", blocks.hbm_bytes),
            ("step/compute_s", "f8", blocks.compute_s),
            ("read/offset", "i8", np.cumsum([0, *map(len, reads)])),
            ("read/block", "u4", np.concatenate(reads)),
            ("append/offset", "i8", np.cumsum([0, *map(len, grown)])),
            ("append/block", "u4", np.concatenate(grown)),
            ("append/bytes", "u4", np.concatenate(sizes)),
        ):
            file.create_dataset(name, data=np.asarray(values).astype(kind))
    return path


def job(blocks: Blocks, sequences: int = 1) -> Job:
    """What such a file says. A block's slot is its rank among its layer's blocks."""
    order = np.argsort(blocks.number)
    layer = (blocks.number[order] // blocks.slots).tolist()
    fullest = max((layer.count(each) for each in layer), default=0)
    slots = max(64, -(-fullest // 64) * 64)
    number = [each * slots + layer[:n].count(each) for n, each in enumerate(layer)]
    birth, death = blocks.birth[order].tolist(), blocks.death[order].tolist()
    steps = []
    for t, lane in enumerate(blocks.lane.tolist()):
        read, append = blocks.read[order, t].tolist(), blocks.append[order, t].tolist()
        mine = range(len(number))
        steps.append(
            Step(
                int(blocks.token[t]), lane, {number[n] for n in mine if read[n]},
                [(number[n], append[n], birth[n] == t) for n in mine if append[n]],
                {number[n] for n in mine if death[n] == t}, float(blocks.hbm_bytes[t]),
                float(blocks.compute_s[t]),
            )
        )  # fmt: skip
    prompt = [number[n] for n in range(len(number)) if birth[n] < 0]
    prompt.sort(key=lambda block: (block % slots, block // slots))
    sequence = dict(zip(number, sequences_of(blocks, sequences).tolist(), strict=True))
    return Job(
        steps, prompt, sequence, blocks.lanes, slots, blocks.lanes, sequences, blocks.block_bytes,
        blocks.tokens_per_block, blocks.resident_bytes,
    )  # fmt: skip
