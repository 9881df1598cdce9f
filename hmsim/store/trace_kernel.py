"""The rules that reads and appends of a trace obey, checked step by step."""

from hmsim.jit import kernel

RULES = {
    1: "a read of a block that does not exist",
    2: "reads unsorted or repeated within a step",
    3: "a read outside the block's life",
    4: "an append to a block that does not exist",
    5: "appends unsorted or repeated within a step",
    6: "an append outside the block's life",
    7: "appends exceed block_bytes in total",
}


@kernel
def check(slab, blocks, filled, born, block_bytes):
    """Check one slab, keeping what carries over in filled I64[N] (bytes) and born bool[N].

    Returns (rule broken or 0, step, block, whether a step has no layer or touches another's).
    """
    mixed = False
    for k in range(slab.token.size):
        step = slab.first + k
        layer = slab.layer[k]
        mixed |= layer < 0
        last = -1
        for i in range(slab.read_offset[k], slab.read_offset[k + 1]):
            b = slab.read_block[i]
            if b < 0 or b >= filled.size:
                return 1, step, b, mixed
            if b <= last:
                return 2, step, b, mixed
            if step < blocks.birth[b] or step >= blocks.death[b]:
                return 3, step, b, mixed
            mixed |= blocks.layer[b] != layer
            last = b
        last = -1
        for i in range(slab.append_offset[k], slab.append_offset[k + 1]):
            b = slab.append_block[i]
            if b < 0 or b >= filled.size:
                return 4, step, b, mixed
            if b <= last:
                return 5, step, b, mixed
            if step < blocks.birth[b] or step >= blocks.death[b]:
                return 6, step, b, mixed
            filled[b] += slab.append_bytes[i]
            if filled[b] > block_bytes or slab.append_bytes[i] < 0:
                return 7, step, b, mixed
            born[b] |= step == blocks.birth[b]
            mixed |= blocks.layer[b] != layer
            last = b
    return 0, 0, 0, mixed
