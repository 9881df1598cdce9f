"""What is counted of the reads of one sequence, layer by layer: bitsets U64[tokens, layers, words] over
positions, from the oldest block on."""

import numpy as np

from hmsim.bits import has, lowest_bit
from hmsim.jit import kernel
from hmsim.workload.fenwick_kernel import change, up_to

_ONE = np.uint64(1)


@kernel
def _listed(bits, block):
    """The numbers in a bitset, ascending, into block[0], block[1], ...; how many there are."""
    count = 0
    for w in range(bits.size):
        rest = bits[w]
        while rest != 0:
            block[count] = w * 64 + lowest_bit(rest)
            count += 1
            rest &= rest - _ONE
    return count


@kernel
def visits(bits, newest, far, learnt, ages, stays, reads, shifted, entering):
    """Count reads by age, and stays by how many tokens they last; all counts are 0 before.

    newest I64[tokens] is each token's newest block; ages I64[positions] and stays I64[tokens + 1] take
    the counts; reads I64[2, layers, positions] those of each block before token `learnt`, and later;
    shifted I64[2] reads whose next (previous) block is read at the next token; entering I64[2], after
    the first token, reads of blocks `far` before the newest or older that were not read at the token
    before, and all such.
    """
    tokens, layers, words = bits.shape
    block, began = np.empty(words * 64, np.int64), np.empty(words * 64, np.int64)
    nothing = np.zeros(words, np.uint64)
    for layer in range(layers):
        for token in range(tokens):
            before = bits[token - 1, layer] if token > 0 else nothing
            after = bits[token + 1, layer] if token + 1 < tokens else nothing
            for i in range(_listed(bits[token, layer], block)):
                here = block[i]
                age = newest[token] - here
                ages[age] += 1
                reads[np.int64(token >= learnt), layer, here] += 1
                shifted[0] += here + 1 < words * 64 and has(after, here + 1)
                shifted[1] += here > 0 and has(after, here - 1)
                entered = not has(before, here)
                if entered:
                    began[here] = token
                if not has(after, here):
                    stays[token + 1 - began[here]] += 1
                if token > 0 and age >= far:
                    entering[0] += entered
                    entering[1] += 1


@kernel
def recent(bits, size, misses):
    """Reads that an LRU buffer of a layer misses, but for first reads.

    size I64[buffers, layers]; misses I64[buffers, tokens, layers], zero before. Buffers are updated
    after each token, in order of position.
    """
    tokens, layers, words = bits.shape
    here = np.empty(words * 64, np.int64)
    order, after = np.empty(words * 64, np.int64), np.empty(words * 64, np.int64)
    for layer in range(layers):
        known = 0  # blocks in `order`, the one read last first
        for token in range(tokens):
            read = bits[token, layer]
            count = _listed(read, here)
            for i in range(count):
                after[count - 1 - i] = here[i]
            for rank in range(known):
                if not has(read, order[rank]):
                    after[count] = order[rank]
                    count += 1
                    continue
                for k in range(size.shape[0]):
                    misses[k, token, layer] += rank >= size[k, layer]
            order, after, known = after, order, count


@kernel
def frequent(bits, size, misses):
    """Reads, but for first ones, of blocks that are not among the size I64[layers] of the layer that
    were read most often so far, the newest of equals first: misses I64[tokens, layers], zero before."""
    tokens, layers, words = bits.shape
    blocks = words * 64
    here, moved = np.empty(blocks, np.int64), np.empty(blocks, np.int64)
    order, after = np.empty(blocks, np.int64), np.empty(blocks, np.int64)
    value = np.empty(blocks, np.int64)
    for layer in range(layers):
        known = 0  # blocks in `order`, the greatest value first
        for block in range(blocks):
            value[block] = block  # and `blocks` for each read
        for token in range(tokens):
            read = bits[token, layer]
            again = stayed = 0
            for rank in range(known):
                if has(read, order[rank]):
                    misses[token, layer] += rank >= size[layer]
                    moved[again] = order[rank]
                    again += 1
                else:
                    order[stayed] = order[rank]
                    stayed += 1
            for i in range(_listed(read, here) - 1, -1, -1):
                if value[here[i]] < blocks:  # a first read; the newest comes first
                    moved[again] = here[i]
                    again += 1
                value[here[i]] += blocks
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
def shared(bits, prompt, size, last, misses):
    """Reads that one LRU buffer of `size` blocks for all layers misses, with first reads of the
    prompt's blocks, those below `prompt`: misses I64[tokens, layers], zero before.

    A block is held as long as fewer than `size` others were read in later steps. last I64[layers,
    positions]: -1.
    """
    tokens, layers, words = bits.shape
    here = np.empty(words * 64, np.int64)
    tree = np.zeros(tokens * layers + 1, np.int64)  # of blocks by their last step
    for now in range(tokens * layers):
        token, layer = now // layers, now % layers
        count = _listed(bits[token, layer], here)
        all_known = up_to(tree, now)
        for i in range(count):
            step = last[layer, here[i]]
            if step < 0:
                misses[token, layer] += here[i] < prompt
            else:
                misses[token, layer] += all_known - up_to(tree, step) >= size
        for i in range(count):
            step = last[layer, here[i]]
            if step >= 0:
                change(tree, step, -1)
            change(tree, now, 1)
            last[layer, here[i]] = now
