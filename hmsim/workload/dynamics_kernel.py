"""What buffers miss of the reads of one sequence, layer by layer.

Reads are listed by token, layer and position: those of a layer at a token are
block[offset[k] : offset[k + 1]], k = token * layers + layer, ascending.
"""

import numpy as np

from hmsim.jit import kernel


@kernel
def recent(offset, block, blocks, size, misses):
    """Reads that an LRU buffer of a layer misses, but for first reads.

    size I64[buffers, layers]; misses I64[buffers, tokens, layers], zero before. Buffers are updated
    after each token, in order of position.
    """
    order, after = np.empty(blocks, np.int64), np.empty(blocks, np.int64)
    read = np.zeros(blocks, np.bool_)
    for layer in range(misses.shape[2]):
        known = 0  # blocks in `order`, the one read last first
        for token in range(misses.shape[1]):
            row = token * misses.shape[2] + layer
            here = block[offset[row] : offset[row + 1]]
            count = here.size
            for i in range(count):
                read[here[i]] = True
                after[count - 1 - i] = here[i]
            for rank in range(known):
                if not read[order[rank]]:
                    after[count] = order[rank]
                    count += 1
                    continue
                for k in range(size.shape[0]):
                    misses[k, token, layer] += rank >= size[k, layer]
            for i in range(here.size):
                read[here[i]] = False
            order, after, known = after, order, count


@kernel
def frequent(offset, block, blocks, size, misses):
    """Reads, but for first ones, of blocks that are not among the size I64[layers] of the layer that
    were read most often so far, the newest of equals first: misses I64[tokens, layers], zero before."""
    order, after = np.empty(blocks, np.int64), np.empty(blocks, np.int64)
    moved, value = np.empty(blocks, np.int64), np.empty(blocks, np.int64)
    read = np.zeros(blocks, np.bool_)
    for layer in range(misses.shape[1]):
        value[:] = np.arange(blocks)  # how often read, then position
        known = 0  # blocks in `order`, the greatest value first
        for token in range(misses.shape[0]):
            row = token * misses.shape[1] + layer
            here = block[offset[row] : offset[row + 1]]
            for i in range(here.size):
                read[here[i]] = True
                value[here[i]] += blocks
            again = stayed = 0
            for rank in range(known):
                each = order[rank]
                if read[each]:
                    misses[token, layer] += rank >= size[layer]
                    moved[again] = each
                    again += 1
                else:
                    order[stayed] = each
                    stayed += 1
            for i in range(here.size - 1, -1, -1):  # first reads, the newest first
                if value[here[i]] < 2 * blocks:
                    moved[again] = here[i]
                    again += 1
                read[here[i]] = False
            known = again + stayed
            i = j = 0
            for rank in range(known):
                if j == stayed or (i < again and value[moved[i]] > value[order[j]]):
                    after[rank] = moved[i]
                    i += 1
                else:
                    after[rank] = order[j]
                    j += 1
            order, after = after, order


@kernel
def shared(offset, block, prompt, size, last, misses):
    """Reads that one LRU buffer of `size` blocks for all layers misses, with first reads of the
    prompt's blocks, those below `prompt`: misses I64[tokens, layers], zero before.

    A block is held as long as fewer than `size` others were read in later steps. last I64[layers,
    blocks]: -1.
    """
    layers = last.shape[0]
    steps = offset.size - 1
    tree = np.zeros(steps + 1, np.int64)  # Fenwick's, of blocks by their last step
    for row in range(steps):
        token, layer = row // layers, row % layers
        for i in range(offset[row], offset[row + 1]):
            step = last[layer, block[i]]
            if step < 0:
                misses[token, layer] += block[i] < prompt
                continue
            later, at = -_until(tree, step), row
            later += _until(tree, at)
            misses[token, layer] += later >= size
        for i in range(offset[row], offset[row + 1]):
            step = last[layer, block[i]]
            if step >= 0:
                _count(tree, step, -1)
            _count(tree, row, 1)
            last[layer, block[i]] = row


@kernel
def _count(tree, step, more):
    at = step + 1
    while at < tree.size:
        tree[at] += more
        at += at & -at


@kernel
def _until(tree, step):
    """Blocks whose last step is `step` or before."""
    total, at = 0, step + 1
    while at > 0:
        total += tree[at]
        at -= at & -at
    return total
