"""The founding authors' strategies as kernels, rule by rule: odd ones too.

State: per layer a bitset of resident tokens, one count `cur[0]` over all layers, one number of
slots `limit`, of which one is always lost. DRAM holds everything, so a demotion costs nothing.
"""

import numpy as np

from hmsim.bits import add, has, lowest_bit, mask, popcount, remove
from hmsim.jit import kernel
from hmsim.placement.latency import APPEND, APPEND_HBM, EXTRA, HITS, PROMOTED, READS, RESIDENT
from hmsim.placement.snapshots_kernel import keep, touch_all

STATIC, REACTIVE, PAGE, LOOKAHEAD1, SA = range(5)
PAGE_TOKENS = 16
DONE, NEVER_ENDS = 0, 1


@kernel
def _add(bits, token, cur, limit):
    """True if the token is, or now is, resident."""
    if has(bits, token):
        return True
    if cur[0] + 1 >= limit:
        return False
    add(bits, token)
    cur[0] += 1
    return True


@kernel
def _remove(bits, token, cur):
    remove(bits, token)
    cur[0] -= 1


@kernel
def _below(token, word):
    """Mask of the bits of `word` that stand for tokens < `token`."""
    return mask(word, 0, token)


@kernel
def first_reads(bits, lane, reads_first, resident, cur, limit):
    """FIRSTREADS over rows of read sets: add until the first failure; True when that came."""
    for k in range(lane.size):
        for w in range(bits.shape[1]):
            word = bits[k, w] & _below(reads_first + 1, w)
            while word != 0:
                token = w * 64 + lowest_bit(word)
                word &= word - np.uint64(1)
                if not _add(resident[lane[k]], token, cur, limit):
                    return True
    return False


@kernel
def page_prefix(resident, prompt_tokens, cur, limit):
    """PAGEPREFIX: whole pages while they fit, all but the last token of each."""
    lanes = resident.shape[0]
    for page in range(prompt_tokens // PAGE_TOKENS):
        if cur[0] + PAGE_TOKENS * lanes > limit:
            return
        for token in range(PAGE_TOKENS * page, PAGE_TOKENS * page + PAGE_TOKENS - 1):
            for lane in range(lanes):
                _add(resident[lane], token, cur, limit)


@kernel
def _reactive(read, held, token, cur, limit, missed):
    """Promote all misses; when HBM is full, flush the layer. -1 where that would never end."""
    promoted = 0
    for w in range(read.size):
        missed[w] = read[w] & ~held[w]
        promoted += popcount(missed[w])
    for w in range(read.size):
        word = missed[w]
        fresh = word & ~held[w]
        count = popcount(fresh)
        if cur[0] + count < limit:  # the whole word fits
            held[w] |= fresh
            cur[0] += count
            continue
        while word != 0:
            miss = w * 64 + lowest_bit(word)
            word &= word - np.uint64(1)
            while not _add(held, miss, cur, limit):
                flushed = 0
                for v in range(read.size):
                    gone = held[v] & _below(token, v)
                    flushed += popcount(gone)
                    held[v] &= ~gone
                cur[0] -= flushed
                if flushed == 0:
                    return -1
    return promoted


@kernel
def _make_page_resident(resident, page, cur, limit):
    """All tokens of a page in all layers; False, changing nothing, if they do not fit."""
    word, shift = page >> 2, np.uint64((page & 3) * PAGE_TOKENS)
    mask = np.uint64(0xFFFF) << shift
    missing = 0
    for lane in range(resident.shape[0]):
        missing += PAGE_TOKENS - popcount(resident[lane, word] & mask)
    if missing >= limit - cur[0]:
        return False
    for lane in range(resident.shape[0]):
        resident[lane, word] |= mask
    cur[0] += missing
    return True


@kernel
def _drop_lowest_page(resident, below_page, cur, first_word):
    """Drop the lowest page under `below_page` whose first token layer 0 holds, if there is one.

    There is none in the words before `first_word`. Returns where to search from the next time, and
    whether a page was dropped.
    """
    firsts = np.uint64(0x0001000100010001)
    for w in range(first_word, (below_page >> 2) + 1):
        word = resident[0, w] & firsts & _below(below_page * PAGE_TOKENS, w)
        if word != 0:
            shift = np.uint64(lowest_bit(word))
            mask = np.uint64(0xFFFF) << shift
            for lane in range(resident.shape[0]):
                cur[0] -= popcount(resident[lane, w] & mask)
                resident[lane, w] &= ~mask
            return w, True
    return max(first_word, below_page >> 2), False


@kernel
def _page(read, coming, held, resident, cur, limit, out):
    """Bring in the pages that the layer's next step reads, dropping lower ones for room."""
    whole = PAGE_TOKENS * resident.shape[0]
    first_word = 0
    for w in range(coming.size):
        word = coming[w] & ~held[w]
        while word != 0:
            token = w * 64 + lowest_bit(word)
            word &= word - np.uint64(1)
            if has(held, token):  # came in with its page meanwhile
                continue
            while True:
                if limit - cur[0] >= whole:
                    if _make_page_resident(resident, token // PAGE_TOKENS, cur, limit):
                        out[PROMOTED] += whole
                        if has(read, token):
                            out[EXTRA] += whole
                        first_word = min(first_word, w)
                    break
                page = token // PAGE_TOKENS
                first_word, dropped = _drop_lowest_page(resident, page, cur, first_word)
                if not dropped:
                    break


@kernel
def _lookahead1(read, coming, held, cur, limit, weights, size, split):
    """Swap towards the best split of the next step's reads; returns the number promoted."""
    wanted, held_count = 0, 0
    for w in range(coming.size):
        wanted += popcount(coming[w])
        held_count += popcount(coming[w] & held[w])
    delta = np.int64((split * (weights + wanted * size) - weights) / size) - held_count
    if delta <= 0:
        return 0
    take = min(delta, held_count)
    promoted = 0
    victim_word = 0
    for w in range(coming.size):
        word = read[w] & coming[w] & ~held[w]
        while word != 0:
            if promoted == take:
                return promoted
            token = w * 64 + lowest_bit(word)
            word &= word - np.uint64(1)
            while not _add(held, token, cur, limit):
                victims = np.uint64(0)
                while victim_word < read.size:
                    victims = read[victim_word] & held[victim_word] & ~coming[victim_word]
                    if victims != 0:
                        break
                    victim_word += 1
                if victims == 0:
                    break
                _remove(held, victim_word * 64 + lowest_bit(victims), cur)
            promoted += 1  # either way
    return promoted


@kernel
def _sa(bits, k, lanes, rows, window, share, held, token, cur, limit, keep, score):
    """Move the top share of the entries that the layer's next `window` steps read again."""
    read = bits[k]
    steps = 0
    while steps < window and k + (steps + 1) * lanes < rows:
        steps += 1
    candidates = 0
    for w in range(read.size):
        keep[w] = 0
        for o in range(1, steps + 1):
            keep[w] |= bits[k + o * lanes, w]
        keep[w] &= _below(token + 1, w)
        candidates += popcount(read[w] & keep[w] & ~held[w])
    tokens = np.empty(candidates, np.int64)
    i = 0
    for w in range(read.size):
        word = read[w] & keep[w] & ~held[w]
        while word != 0:
            bit = np.uint64(lowest_bit(word))
            word &= word - np.uint64(1)
            tokens[i] = w * 64 + np.int64(bit)
            score[i] = 0.0
            for o in range(1, steps + 1):
                if (bits[k + o * lanes, w] >> bit) & np.uint64(1):
                    score[i] -= 1.0 / o
            i += 1
    order = np.argsort(score[:candidates], kind="mergesort")
    target = np.int64(np.ceil(share * candidates))
    placed = 0
    victim_word = 0
    for j in order:
        if placed == target:
            break
        if not _add(held, tokens[j], cur, limit):
            victims = np.uint64(0)
            while victim_word < read.size:
                victims = held[victim_word] & ~keep[victim_word]
                if victims != 0:
                    break
                victim_word += 1
            if victims == 0:
                continue
            _remove(held, victim_word * 64 + lowest_bit(victims), cur)
            _add(held, tokens[j], cur, limit)
        placed += 1
    return placed


@kernel
def _newborn(rule, token, next_read, held, resident, cur, limit):
    """True if the new token's entry goes to HBM."""
    if rule == PAGE:
        if token % PAGE_TOKENS == 0:
            if limit - cur[0] < PAGE_TOKENS * resident.shape[0]:
                return False
        elif not has(held, token // PAGE_TOKENS * PAGE_TOKENS):
            return False
        return _add(held, token, cur, limit)
    if rule in (LOOKAHEAD1, SA):
        if not has(next_read, token):
            return False
        if _add(held, token, cur, limit):
            return True
        for w in range((token >> 6) + 1):
            victims = held[w] & ~next_read[w] & _below(token, w)
            if victims != 0:
                _remove(held, w * 64 + lowest_bit(victims), cur)
                break
    return _add(held, token, cur, limit)


@kernel
def advance(
    rule, window, size, resident, cur, limit, ahead, share, split, scratch, score,
    capture, counts,
):  # fmt: skip
    """Take a strategy through a window; `counts` as in `traffic.COUNTS`.

    size: bytes of an entry. `ahead` and `share` are W and R of `sa`. `capture` takes the residents
    before and after sampled rows. Returns NEVER_ENDS where `reactive` would flush an empty layer for
    ever; the counts are void then.
    """
    lanes = resident.shape[0]
    steps = window.steps
    total = steps.lane.size
    nothing = scratch[1]
    nothing[:] = 0
    for k in range(window.rows):
        lane = steps.lane[k]
        held = resident[lane]
        read = steps.bits[k]
        token = steps.append_slot[steps.append_offset[k]]
        out = counts[k]
        sample = capture.wanted[k]
        if sample >= 0:
            touch_all(capture)
            keep(capture, resident, capture.before[sample])
        for w in range(read.size):
            out[HITS] += popcount(read[w] & held[w])
        out[READS] = steps.reads[k]
        out[RESIDENT] = cur[0]
        out[APPEND] = size
        has_next = k + lanes < total
        coming = steps.bits[k + lanes] if has_next else nothing
        if _newborn(rule, token, coming, held, resident, cur, limit):
            out[APPEND_HBM] = size
        if rule == REACTIVE:
            promoted = _reactive(read, held, token, cur, limit, scratch[0])
            if promoted < 0:
                return NEVER_ENDS
            out[PROMOTED] = promoted
        elif rule == PAGE and has_next:
            _page(read, coming, held, resident, cur, limit, out)
        elif rule == LOOKAHEAD1 and has_next:
            weights = steps.hbm_bytes[k]
            out[PROMOTED] = _lookahead1(read, coming, held, cur, limit, weights, size, split)
        elif rule == SA:
            out[PROMOTED] = _sa(
                steps.bits, k, lanes, total, ahead, share, held, token, cur, limit, scratch[0],
                score,
            )  # fmt: skip
        if sample >= 0:
            touch_all(capture)
            keep(capture, resident, capture.after[sample])
    return DONE
