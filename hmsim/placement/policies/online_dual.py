"""`online-dual`: each block by what its class has taught of reads to come, at prices that the run sets.

The bound prices terms of the time and HBM's capacity, and lets each block choose between two states;
with all reads known, that is a shortest path. Here the same prices are kept up online, and what is not
known is learned:

reads     `classes_kernel`: the reads to come of a block, by how it was read so far, lane by lane
terms     each lane's price of a term is the share of its steps (lately) that the term bound. It is the
          mean of the steps' own supergradients: by so much does a byte more of it make a step longer.
          What is assumed before any step counts as one visit
capacity  the mean of what the last block that each lane keeps is worth, in seconds; what is worth less
          than that makes place for other lanes, as long as few places are free

A block in HBM is worth its reads to come, times what the prices of terms say that a read from there
saves. After a step its misses, dearest first, are each weighed against the cheapest resident of their
lane (where a lane is long: of a part of it, which goes round), or against the price of a free place: a
move is made where what it gains is above what it makes this very step longer. So where a step has time
left moves are nearly free, and where moves are what binds they have to pay. A gain lasts only as long
as the block stays, and where much is worth nearly as much, that is not long: so the more is asked of a
gain, by `caution`, the more what it displaces is worth. A block that is born needs no promotion: before
anything else it is weighed likewise, by what blocks of the next lane were worth that were new.

Where a block is read from the one memory that it is in (exclusive copies) and each step is waited for,
HBM can hold too much of a lane: then it makes the lane wait while DRAM has nothing to do. How many
blocks more DRAM could read meanwhile is learned too, mean and variance. While that is surely above zero
nothing is promoted, and what is read most, and what is born, is left to DRAM until it is not. Nothing
is known of what comes.

Sources: the two-state rule with prices is Whittle's relaxation of restless bandits ("Restless bandits:
activity allocation in a changing world", Journal of Applied Probability 25A, 1988); prices as means of
best responses are fictitious play (G. W. Brown, 1951). No ratio is proven for it; the gap to the run's
own bound, which every run prints, is its certificate.
"""

from typing import NamedTuple

import numpy as np

from hmsim.bits import has, lowest_bit
from hmsim.errors import InputError
from hmsim.jit import kernel
from hmsim.placement.latency import latency_of
from hmsim.placement.latency_kernel import APPEND, DEMOTE, READ, packed, term_seconds, unpacked
from hmsim.placement.policies import classes_kernel as learned
from hmsim.placement.policies.api import Own, Policy, policy_step
from hmsim.placement.policies.classes_kernel import CLASSES, FORGET_EVERY, VALUE_EVERY
from hmsim.placement.policies.uses_kernel import demand

# Places in own.floats, see `OnlineDual`.
BLOCK, MEMORY, HORIZON, CAUTION, TOKEN, PLACE, HEAD = range(7)
PACE = 0.02  # weight of a lane's last step in the prices of its terms; at first 1 / (1 + visits)
PLACE_PACE = 0.02  # and of any step in that of capacity
IDLE_PACE = 0.05  # weight of a lane's last step in what is known of DRAM's idleness
SURE = 2.5  # standard deviations below that mean DRAM is idle in nearly every step. By trial
FREE = 0.003  # share of the capacity that is kept free, for lanes that need more
MOST_SHARE = 8  # a step fills an eighth of it at most
WEIGHED = 256  # words of a lane whose residents a step may demote; of a longer lane, by turns
FIRST_DRAM = 0.3  # price of DRAM's terms together, before any step


class Load(NamedTuple):
    """What a step takes wherever its moves go."""

    size: float  # bytes of a block
    fixed: float  # of HBM, but for reads of blocks
    reads: int
    hits: int
    appended: float  # bytes, to DRAM


@kernel
def _parts(hbm, own):
    """`classes`, `tables` of own.bits; `visit`, `hand`, `order`, `counts` of own.ints."""
    lanes, words = hbm.resident.shape
    flat, last = own.bits.reshape(-1), 16 * lanes * words
    ints = own.ints
    first = 2 * lanes
    end = first + lanes * CLASSES
    return (
        flat[:last].view(np.uint16), flat[last:].view(np.uint8),
        ints[:lanes], ints[lanes:first], ints[first:end].reshape(lanes, CLASSES),
        ints[end:].reshape(4, CLASSES),
    )  # fmt: skip


@kernel
def _numbers(lanes, own):
    """`model`, `terms`, `sums`, `prices`, `prior`, `worth`, `seen`, `idle` of own.floats."""
    floats = own.floats
    first = HEAD + 1
    last = first + np.int64(floats[HEAD])
    model = floats[first:last]
    terms = (last - first - 5) // 4 + 2
    shapes = floats[last : last + 2 * terms]
    last += 2 * terms
    prices = floats[last : last + lanes * terms].reshape(lanes, terms)
    last += lanes * terms
    prior = floats[last : last + 2 * CLASSES].reshape(CLASSES, 2)
    last += 2 * CLASSES
    worth = floats[last : last + lanes * CLASSES].reshape(lanes, CLASSES)
    last += lanes * CLASSES
    seen = floats[last : last + 2 * lanes * CLASSES].reshape(lanes, CLASSES, 2)
    last += 2 * lanes * CLASSES
    return (
        model,
        shapes[:terms],
        shapes[terms:],
        prices,
        prior,
        worth,
        seen,
        floats[last : last + 2 * lanes].reshape(lanes, 2),
    )


@kernel
def _load(now, hbm, size, copies):
    """The step's load; appends go where their blocks are."""
    here = hbm.resident[now.lane]
    reads, hits = demand(now, hbm)
    fixed, appended = now.hbm_bytes, 0.0
    for i in range(now.appended.size):
        inside = has(here, now.appended[i])
        if inside:
            fixed += now.appended_bytes[i]
        if not inside or copies.append == 1:
            appended += now.appended_bytes[i]
    return Load(size, fixed, reads, hits, appended)


@kernel
def _seconds(now, latency, load, into, out, by_token, price, terms):
    """Seconds of the step with so many promotions and demotions; its `terms` are filled in.

    Where groups are tokens no step knows which term will bind: then it is what the terms cost.
    """
    promoted, demoted = load.size * into, latency.copies.demote * load.size * out
    term_seconds(
        load.fixed + promoted + demoted, load.size * load.reads, load.size * load.hits,
        load.appended, latency.copies.fill * promoted, demoted, now.compute_s, latency, terms,
    )  # fmt: skip
    if not by_token:
        return terms.max()
    total = 0.0
    for k in range(terms.size):
        total += price[k] * terms[k]
    return total


@kernel
def _saved(size, price, latency, cause):
    """Seconds that it saves to read a block (or append it) in HBM, not DRAM, at these prices."""
    saved = -price[0] / latency.hbm
    for k in range(latency.term.shape[0]):
        saved += price[1 + k] * latency.term[k, cause]
    return size * saved


@kernel
def _pays(ours, theirs, longer, caution):
    """Whether what is worth so many seconds may displace what is worth `theirs`, in a step so much
    longer."""
    return ours > theirs and (ours - theirs) * ours > (ours + caution * theirs) * longer


@kernel
def _count(bits, classes, start, words, counts):
    """`counts` [CLASSES]: blocks of each class in so many `words` of the set `bits`, from `start` on."""
    counts[:] = 0
    for k in range(start, start + words):
        w = k if k < bits.size else k - bits.size
        left = bits[w]
        while left != 0:
            counts[classes[w * 64 + lowest_bit(left)]] += 1
            left &= left - np.uint64(1)


@kernel
def _cheapest(low, order, held, demoted):
    """The place in `order`, from `low` on, of the first class with residents left; CLASSES if none."""
    while low < CLASSES and held[order[low]] == demoted[order[low]]:
        low += 1
    return low


@kernel
def _room_for_newborns(
    now, hbm, latency, load, saved, born, worth, order, price, own, terms, counts, moves
):
    """How many residents to demote so that blocks that are born find room, and how many of these do.

    `saved`: by a read; `born`: seconds that a newborn is worth. `counts` as for `_weigh`.
    """
    held, demoted, by_token = counts[1], counts[3], own.floats[TOKEN] == 1.0
    free = hbm.capacity - hbm.used[0]
    low, out, homes = 0, 0, 0
    taken = _seconds(now, latency, load, 0, 0, by_token, price, terms)
    for j in range(now.coming.size):
        if moves.place[j] == 0 or has(hbm.alive[now.next_lane], now.coming[j]):
            continue
        if homes < free + out:
            homes += 1
            continue
        low = _cheapest(low, order, held, demoted)
        longer = _seconds(now, latency, load, 0, out + 1, by_token, price, terms)
        if low == CLASSES or not _pays(
            born, saved * worth[order[low]], longer - taken, own.floats[CAUTION]
        ):
            moves.place[j] = 0
            continue
        demoted[order[low]] += 1
        taken, out, homes = longer, out + 1, homes + 1
    return out, homes


@kernel
def _weigh(now, hbm, own, latency, load, worth, order, price, terms, counts, most, newborn, moves):
    """How many misses to promote and residents to demote, and in `counts` of which classes.

    `counts` [4, CLASSES]: misses, residents; of these promoted, demoted. `most`: promotions.
    `newborn`: reads to come of a block that is born; `moves.place` will say which of them find room.
    """
    floats, caution, by_token = own.floats, own.floats[CAUTION], own.floats[TOKEN] == 1.0
    misses, held, promoted, demoted = counts[0], counts[1], counts[2], counts[3]
    saved = max(0.0, _saved(load.size, price, latency, READ))
    born = saved * newborn
    if latency.copies.append == 0:
        born += _saved(load.size, price, latency, APPEND)
    out, homes = _room_for_newborns(
        now, hbm, latency, load, saved, born, worth, order, price, own, terms, counts, moves
    )
    free = hbm.capacity - hbm.used[0] - homes
    taken = _seconds(now, latency, load, 0, out, by_token, price, terms)
    into, low, high = 0, 0, CLASSES - 1
    while True:
        while high >= 0 and misses[order[high]] == promoted[order[high]]:
            high -= 1
        low = _cheapest(low, order, held, demoted)
        victim = saved * worth[order[low]] if low < CLASSES else np.inf
        full = free + out - into <= 0
        swap = victim < np.inf and (full or victim < floats[PLACE])
        if high < 0 or into >= most or (full and not swap):
            break
        then = out + np.int64(swap)
        longer = _seconds(now, latency, load, into + 1, then, by_token, price, terms)
        gained, given = saved * worth[order[high]], victim if swap else floats[PLACE]
        if not _pays(gained, given, longer - taken, caution):
            break
        promoted[order[high]] += 1
        if swap:
            demoted[order[low]] += 1
        taken, into, out = longer, into + 1, then
    if low == CLASSES:
        return into, out
    floats[PLACE] += PLACE_PACE * (victim - floats[PLACE])
    # Free places for lanes that need more. Where moves are nearly free, prices still say what they cost.
    leaving = price[0] / latency.hbm
    for k in range(latency.term.shape[0]):
        leaving += price[1 + k] * latency.term[k, DEMOTE]
    leaving *= latency.copies.demote * load.size
    want = np.int64(FREE * hbm.capacity)
    most = out + 1 + want // MOST_SHARE
    while free + out - into < want and out < most:
        low = _cheapest(low, order, held, demoted)
        if low == CLASSES:
            break
        longer = _seconds(now, latency, load, into, out + 1, by_token, price, terms)
        least = max(longer - taken, leaving)
        if not _pays(floats[PLACE], saved * worth[order[low]], least, caution):
            break
        demoted[order[low]] += 1
        taken, out = longer, out + 1
    return into, out


@kernel
def _note_idle(visit, lane, load, latency, terms, idle):
    """Learn how many blocks more DRAM could have read while HBM read the rest; without moves."""
    spare = np.inf
    for k in range(latency.term.shape[0]):
        if latency.term[k, READ] > 0.0:
            each = load.size * (latency.term[k, READ] + 1 / latency.hbm)
            spare = min(spare, (terms[0] - terms[1 + k]) / each)
    pace = max(IDLE_PACE, 1.0 / visit)
    change = spare - idle[lane, 0]
    idle[lane, 0] += pace * change
    idle[lane, 1] += pace * ((1 - pace) * change * change - idle[lane, 1])


@kernel
def _surely_idle(lane, idle):
    """How many blocks more DRAM could read in nearly every step of the lane, if HBM read them not."""
    return idle[lane, 0] - SURE * np.sqrt(idle[lane, 1])


@kernel
def _leave_newborns(now, hbm, idle, moves):
    """Leave them to a DRAM that has nothing to do."""
    for j in range(now.coming.size):
        if _surely_idle(now.next_lane, idle) < 1.0:
            break
        if not has(hbm.alive[now.next_lane], now.coming[j]):
            moves.place[j] = 0
            idle[now.next_lane, 0] -= 1.0


@kernel
def _lighten(now, own, latency, load, worth, order, terms, counts, into, out, idle):
    """Leave more to a DRAM that has nothing to do: what is read most.

    How many blocks are demoted in all. `terms` are of the step with these moves.
    """
    held, demoted = counts[1], counts[3]
    high = CLASSES - 1
    taken = terms.max()
    while _surely_idle(now.lane, idle) >= 1.0:
        while high >= 0 and held[order[high]] == demoted[order[high]]:
            high -= 1
        if high < 0:
            break
        longer = _seconds(now, latency, load, into, out + 1, False, terms, terms)
        gained = load.size / latency.hbm * worth[order[high]]
        if longer > terms[0] or not _pays(gained, 0.0, longer - taken, own.floats[CAUTION]):
            break
        demoted[order[high]] += 1
        out, taken = out + 1, longer
        idle[now.lane, 0] -= 1.0
    return out


@kernel
def _pick(bits, classes, start, left, counts, first, blocks):
    """`left` blocks of the set `bits` [words] into `blocks`: as many of each class as `counts` has.

    They are taken word by word from `start` on, round the set; the last word gone to is returned.
    """
    word = start
    found = 0
    while found < left:
        rest = bits[word]
        while rest != 0:
            slot = word * 64 + lowest_bit(rest)
            rest &= rest - np.uint64(1)
            if counts[classes[slot]] > 0:
                counts[classes[slot]] -= 1
                blocks[found] = first + slot
                found += 1
        if found < left:
            word = word + 1 if word + 1 < bits.size else 0
    return word


@kernel
def _note_binding(own, now, visit, prices, terms, sums):
    """The term that bound the group gains price: in the lane, or at a token's end in all of them."""
    first, last = now.lane, now.lane + 1
    sums += terms
    if own.floats[TOKEN] == 1.0:
        if now.next_lane > now.lane:
            return
        first, last = 0, prices.shape[0]
    longest = 0
    for k in range(1, sums.size):
        if sums[k] > sums[longest] * (1 + 1e-9):  # what only rounding makes longer is not
            longest = k
    sums[:] = 0.0
    pace = max(PACE, 1.0 / (1 + visit))
    for lane in range(first, last):
        for k in range(sums.size):
            prices[lane, k] += pace * ((1.0 if k == longest else 0.0) - prices[lane, k])


@policy_step
def step(now, hbm, own, moves):
    """Learn from the step, weigh its moves, let prices follow."""
    lanes, words = hbm.resident.shape
    classes, tables, visits, hand, orders, counts = _parts(hbm, own)
    model, terms, sums, prices, prior, worths, seen, idle = _numbers(lanes, own)
    lane, read, here = now.lane, now.bits[now.row], hbm.resident[now.lane]
    missed = own.bits[own.bits.shape[0] - 1]
    first = lane * words * 64
    mine = classes[first : first + words * 64]
    worth, order, price = worths[lane], orders[lane], prices[lane]
    latency = unpacked(model)

    visits[lane] += 1
    fit = hbm.capacity // lanes
    learned.see(read, hbm.alive[lane], visits[lane], fit, tables, mine, seen[lane])
    if visits[lane] % VALUE_EVERY == 1 or visits[lane] < 2 * VALUE_EVERY:
        learned.value(own.floats[MEMORY], own.floats[HORIZON], seen[lane], worth, order)
    if visits[lane] % FORGET_EVERY == 0:
        learned.forget(prior, seen[lane])

    for w in range(words):
        missed[w] = read[w] & ~here[w]
    counts[2:] = 0
    weighed = min(words, WEIGHED)
    _count(missed, mine, 0, words, counts[0])
    _count(here, mine, hand[lane], weighed, counts[1])
    load = _load(now, hbm, own.floats[BLOCK], latency.copies)
    for slot in now.coming:
        if not has(hbm.alive[now.next_lane], slot):
            classes[now.next_lane * words * 64 + slot] = learned.NEW
    # Else reads are split by themselves, or no step knows what its group waits for.
    one_side = latency.copies.either_side == 0 and own.floats[TOKEN] == 0.0
    most = load.reads
    if one_side:
        _seconds(now, latency, load, 0, 0, False, price, terms)
        _note_idle(visits[lane], lane, load, latency, terms, idle)
        _leave_newborns(now, hbm, idle, moves)
        most = np.int64(max(0.0, -_surely_idle(lane, idle)))
    newborn = worths[now.next_lane, learned.NEW]
    into, out = _weigh(
        now, hbm, own, latency, load, worth, order, price, terms, counts, most, newborn, moves
    )
    _seconds(now, latency, load, into, out, False, price, terms)
    if one_side:
        idle[lane, 0] += into
        out = _lighten(now, own, latency, load, worth, order, terms, counts, into, out, idle)
        _seconds(now, latency, load, into, out, False, price, terms)
    _note_binding(own, now, visits[lane], prices, terms, sums)
    _pick(missed, mine, 0, into, counts[2], first, moves.promote)
    last = _pick(here, mine, hand[lane], out, counts[3], first, moves.demote)
    hand[lane] = last if weighed == words else (hand[lane] + weighed) % words
    moves.count[0], moves.count[1] = into, out


class OnlineDual(Policy):
    """Learned reads at prices that the run sets.

        own.bits    [16 * lanes + n + 1, words], its bytes as
          classes   [lanes * slots], uint16      class of each slot
          tables    [2 * TURNS * 2 * KINDS]      `classes_kernel.next_kinds`
          missed    [words], the last row        read from DRAM in this step
        own.ints    [lanes * (2 + CLASSES) + 4 * CLASSES]
          visit     [lanes]                      visits of each lane
          hand      [lanes]                      word at which demotions begin
          order     [lanes, CLASSES]             classes by what they are worth
          counts    [4, CLASSES]                 see `_weigh`
        own.floats  [7 + n + 2 * terms + lanes * terms + 2 * CLASSES + 3 * lanes * CLASSES
                     + 2 * lanes]
          BLOCK     1                            bytes of a block
          MEMORY    1
          HORIZON   1
          CAUTION   1
          TOKEN     1                            1: groups are tokens
          PLACE     1                            price of a place in HBM, seconds
          HEAD      1                            n
          model     [n]                          `latency_kernel.packed`
          terms     [terms]                      of this step: HBM's, DRAM's, floor
          sums      [terms]                      of the group so far
          prices    [lanes, terms]
          prior     [CLASSES, 2]                 `classes_kernel.prior_reads`
          worth     [lanes, CLASSES]             reads to come
          seen      [lanes, CLASSES, 2]          visits without and with a read
          idle      [lanes, 2]                   blocks that DRAM could read beside: mean, variance

    Args:
        memory: Visits of its lane (tokens) over which a block's reads are averaged, 2 to 1000.
        horizon: Visits of its lane after which reads to come hardly count, 2 to 1000.
        caution: How much more a move has to gain than the time that it takes, 0 to 100: so many times
            that time, where what it displaces is worth as much as what it brings, and in proportion.
    """

    name = "online-dual"
    step = step

    def __init__(self, memory: float = 20.0, horizon: float = 48.0, caution: float = 5.0):
        for key, value, least, most in (
            ("memory", memory, 2, 1000), ("horizon", horizon, 2, 1000), ("caution", caution, 0, 100),
        ):  # fmt: skip
            if not (isinstance(value, int | float) and least <= value <= most):
                raise InputError(f"policy {self.name}: {key}: {value!r}: from {least} to {most}")
        self.memory, self.horizon, self.caution = float(memory), float(horizon), float(caution)

    def own(self, geometry, capacity, rates, resident):
        """Nothing is known of any block."""
        lanes, words = geometry.lanes, geometry.words
        tables = learned.next_kinds(self.memory).ravel()
        rows = -(-tables.size // (8 * words))
        bits = np.zeros((16 * lanes + rows + 1, words), np.uint64)
        bits[: 16 * lanes].view(np.uint16)[:] = learned.UNKNOWN
        bits[16 * lanes :].reshape(-1).view(np.uint8)[: tables.size] = tables
        order = np.tile(np.arange(CLASSES), lanes)
        ints = np.concatenate([np.zeros(2 * lanes), order, np.zeros(4 * CLASSES)]).astype(np.int64)
        model = packed(latency_of(self.variant, rates))
        terms = unpacked(model).term.shape[0] + 2
        prices = np.zeros((lanes, terms))
        prices[:, 0], prices[:, 1:-1] = 1 - FIRST_DRAM, FIRST_DRAM / (terms - 2)
        prior = learned.prior_reads().ravel()
        by_token = float(self.barrier == "token")
        head = [
            geometry.block_bytes, self.memory, self.horizon, self.caution, by_token, 0.0, model.size
        ]  # fmt: skip
        floats = np.concatenate([
            np.array(head, float), model, np.zeros(2 * terms), prices.ravel(), prior,
            np.zeros(lanes * CLASSES), np.tile(prior, lanes), np.zeros(2 * lanes),
        ])  # fmt: skip
        return Own(bits, ints, floats)
