"""The policy `online-dual` as plain Python: a class for each block, a table for each lane, a price for
each term."""

import bisect
import math
from functools import cache

from tests.oracles import times
from tests.oracles.rules import Rule

LEVELS = [(k / 15) * (k / 15) for k in range(16)]
OLDEST = [0, 1, 2, 4, 6, 10, 16, 24, 40, 64, 128, 256, 512, 1024, 2048]
PRIOR_AGE = [*OLDEST, 1000]
TURNS, RARE, PRIOR, KEPT, PACE, FREE = 32, 64, 4.0, 0.8, 0.02, 0.003
IDLE_PACE, SURE, WEIGHED = 0.05, 2.5, 256
UNKNOWN, NEW, ALIKE = 4 * 16 + 10, 255, 0.1
MASK = 2**64 - 1


def risen(level, read, memory):
    """The level below the average after a visit, and how far that is on the way to the next."""
    mean = LEVELS[level] * (1 - 1.0 / memory) + 1.0 / memory * read
    low = min(bisect.bisect_right(LEVELS, mean) - 1, 14)
    return low, (mean - LEVELS[low]) / (LEVELS[low + 1] - LEVELS[low])


def width(age):
    """Visits that a block is of that age; the last one has no end."""
    return OLDEST[age] - [-1, *OLDEST][age] if age < 15 else math.inf


@cache
def following(memory):
    """The kind after a visit, as `[read][kind][turn]`; kind 16 * level + age. The last half of the
    turns are rare. The class of an old block is 256 more than its kind."""
    found = [[[] for _ in range(256)] for _ in range(2)]
    for read in range(2):
        for c in range(256):
            level, age = divmod(UNKNOWN if c == NEW else c, 16)
            low, part = risen(level, read, memory)
            for turn in range(2 * TURNS):
                share, other = (turn % TURNS + 0.5) / TURNS, (turn * 7 % TURNS + 0.5) / TURNS
                if width(age) <= TURNS:
                    older = other < 1.0 / width(age)
                else:
                    older = turn >= TURNS and other < RARE / width(age)
                then = 0 if read else age + older
                found[read][c].append((low + (share < part)) * 16 + then)
    return found


class OnlineDual(Rule):
    def __init__(self, memory=20.0, horizon=48.0, caution=5.0):
        self.next, self.memory = following(memory), memory
        self.horizon, self.caution = horizon, caution

    def begin(self, game):
        job = game.job
        self.kind = [[UNKNOWN] * job.slots for _ in range(job.lanes)]
        self.visits, self.hand = [0] * job.lanes, [0] * job.lanes
        self.prior = []
        for c in range(512):
            share = 0.5 * LEVELS[c % 256 // 16] + 0.45 / (1 + PRIOR_AGE[c % 16])
            share = min(max(share, 0.001), 0.999)
            self.prior.append([PRIOR * (1 - share), PRIOR * share])
        self.seen = [[list(each) for each in self.prior] for _ in range(job.lanes)]
        self.worth = [[0.0] * 512 for _ in range(job.lanes)]
        terms = len(times.terms(game.variant, game.rates))
        self.price = [[0.7, *[0.3 / terms] * terms, 0.0] for _ in range(job.lanes)]
        self.sums, self.place_price = [0.0] * (terms + 2), 0.0
        self.idle = [[0.0, 0.0] for _ in range(job.lanes)]
        self.one_side = game.variant not in times.INCLUSIVE and game.barrier == "layer"
        self.away = set()
        return super().begin(game)

    def see(self, t):
        """Learn, and take every slot to its next class."""
        game, step = self.game, self.game.steps[t]
        lane, slots = step.lane, game.job.slots
        words = slots // 64
        self.visits[lane] += 1
        visit = self.visits[lane]
        apart = max(1, min(8, words // 64))
        kind, seen = self.kind[lane], self.seen[lane]
        there = [(b - lane * slots) // 64 for b in game.alive if b // slots == lane]
        newest, fit = max(there, default=0), game.capacity // game.job.lanes
        for slot in range(slots):
            block, word = lane * slots + slot, slot // 64
            if (word + visit) % apart == 0 and block in game.alive:
                seen[kind[slot]][block in step.read] += 1.0
            drawn = mixed(visit * words + word)
            turn = (drawn >> 40) % TURNS + (TURNS if drawn % RARE == 0 else 0)
            old = 64 * (newest - word) >= fit
            kind[slot] = 256 * old + self.next[block in step.read][kind[slot] % 256][turn]
        if visit % 4 == 1 or visit < 8:
            self.follow(lane)
        if visit % 16 == 0:
            for c, counts in enumerate(seen):
                for read in (0, 1):
                    counts[read] = KEPT * counts[read] + (1 - KEPT) * self.prior[c][read]

    def follow(self, lane):
        """Two sweeps of what a class is worth, in order of the classes, each using those before."""
        worth, kept = self.worth[lane], 1 - 1 / self.horizon
        for _ in range(2):
            for c, (idle, busy) in enumerate(self.seen[lane]):
                half, kind = divmod(c, 256)
                level, age = divmod(UNKNOWN if kind == NEW else kind, 16)
                after = []
                for read in (0, 1):
                    low, part = risen(level, read, self.memory)
                    then = [(0, 1.0)]
                    if not read:
                        older = 1 / width(age)
                        then = [(age, 1 - older), (age + 1, older)]
                    after.append(sum(
                        p * q * worth[256 * half + 16 * (low + up) + each]
                        for up, p in ((0, 1 - part), (1, part)) for each, q in then if q > 0
                    ))  # fmt: skip
                other = self.seen[lane][(c + 256) % 512]
                idle, busy = idle + ALIKE * other[0], busy + ALIKE * other[1]
                share = busy / (busy + idle)
                worth[c] = share * (1 + kept * after[1]) + (1 - share) * kept * after[0]

    def decide(self, t):
        game = self.game
        self.see(t)
        step = game.steps[t]
        lane, first = step.lane, step.lane * game.job.slots
        worth, kind = self.worth[lane], self.kind[lane]

        def of(block):
            return worth[kind[block - first]], kind[block - first]

        missed = sorted(step.read - game.resident, key=of, reverse=True)
        words, hand = game.job.slots // 64, self.hand[lane]
        here = {
            b for b in game.resident if first <= b < first + game.job.slots
            and ((b - first) // 64 - hand) % words < WEIGHED
        }  # fmt: skip
        held = sorted(here, key=of)
        price, rates, exclusive = self.price[lane], game.rates, game.variant not in times.INCLUSIVE
        saved, by_append = -price[0] / rates.hbm, -price[0] / rates.hbm
        leaving = price[0] / rates.hbm
        for p, (read, append, _, demote) in zip(
            price[1:], times.terms(game.variant, rates), strict=False
        ):
            saved += p * read
            by_append += p * append
            leaving += p * demote
        saved = game.size * max(saved, 0.0)
        leaving *= game.size if exclusive else 0
        then = game.steps[t + 1]
        coming = [block for block, _, _ in then.appends if block not in game.alive]
        for block in coming:
            self.kind[then.lane][block - then.lane * game.job.slots] = NEW
        self.away, most = set(), len(missed)
        if self.one_side:
            self.note_idle(t)
            self.leave_newborns(then.lane, coming)
            most = int(max(0.0, -self.surely_idle(lane)))

        free, into, out = game.capacity - len(game.resident), 0, 0
        taken = self.seconds(t, 0, 0, price)
        born = saved * self.worth[then.lane][NEW] + (game.size * by_append if exclusive else 0)
        for block in coming:
            if block in self.away:
                continue
            if free + out <= 0:
                longer = self.seconds(t, 0, out + 1, price)
                if out == len(held) or not self.pays(
                    born, saved * of(held[out])[0], longer - taken
                ):
                    self.away.add(block)
                    continue
                taken, out = longer, out + 1
            free -= 1
        while True:
            victim = saved * of(held[out])[0] if out < len(held) else None
            full = free + out - into <= 0
            swap = victim is not None and (full or victim < self.place_price)
            if into == min(len(missed), most) or (full and not swap):
                break
            given = victim if swap else self.place_price
            longer = self.seconds(t, into + 1, out + swap, price)
            if not self.pays(saved * of(missed[into])[0], given, longer - taken):
                break
            taken, into, out = longer, into + 1, out + swap
        if victim is not None:
            self.place_price += PACE * (victim - self.place_price)
            want = int(FREE * game.capacity)
            most = out + 1 + want // 8
            while free + out - into < want and out < most and out < len(held):
                longer = self.seconds(t, into, out + 1, price)
                least = max(longer - taken, leaving)
                if not self.pays(self.place_price, saved * of(held[out])[0], least):
                    break
                taken, out = longer, out + 1
        dearest = []
        if self.one_side:
            self.idle[lane][0] += into
            dearest = self.lighten(t, into, out, held, of)
        self.note_binding(t, into, out + len(dearest))
        promoted = self.pick(lane, set(missed), missed[:into], 0)[0]
        demoted, last = self.pick(lane, here, held[:out] + dearest, hand)
        self.hand[lane] = last if words <= WEIGHED else (hand + WEIGHED) % words
        return promoted, demoted

    def pays(self, ours, theirs, longer):
        """Whether a move gains more than it takes: the more so, the more what it displaces is worth."""
        return ours > theirs and (ours - theirs) * ours > (ours + self.caution * theirs) * longer

    def leave_newborns(self, lane, coming):
        """Those that begin in DRAM, as it has nothing to do."""
        for block in coming:
            if self.surely_idle(lane) < 1.0:
                break
            self.away.add(block)
            self.idle[lane][0] -= 1.0

    def note_idle(self, t):
        """How many blocks more DRAM could have read meanwhile: mean and variance, by lane."""
        game, lane = self.game, self.game.steps[t].lane
        hbm, *paths, _ = self.terms(t, 0, 0)
        spare = min(
            (hbm - seconds) / (game.size * (read + 1 / game.rates.hbm))
            for seconds, (read, *_) in zip(
                paths, times.terms(game.variant, game.rates), strict=True
            )
            if read > 0
        )
        pace = max(IDLE_PACE, 1.0 / self.visits[lane])
        mean, variance = self.idle[lane]
        change = spare - mean
        self.idle[lane] = [
            mean + pace * change, variance + pace * ((1 - pace) * change * change - variance)
        ]  # fmt: skip

    def surely_idle(self, lane):
        mean, variance = self.idle[lane]
        return mean - SURE * math.sqrt(variance)

    def lighten(self, t, into, out, held, of):
        """Residents to demote that are read most."""
        game, lane = self.game, self.game.steps[t].lane
        left, dearest = held[out:], []
        taken = max(self.terms(t, into, out))
        while left and self.surely_idle(lane) >= 1.0:
            found = self.terms(t, into, out + len(dearest) + 1)
            gain = game.size / game.rates.hbm * of(left[-1])[0]
            if max(found) > found[0] or not self.pays(gain, 0.0, max(found) - taken):
                break
            dearest.append(left.pop())
            taken = max(found)
            self.idle[lane][0] -= 1.0
        return dearest

    def place(self, block):
        return block not in self.away

    def pick(self, lane, blocks, chosen, start):
        """As many blocks of each class as are chosen, word by word from `start` on, round the lane."""
        first, words = lane * self.game.job.slots, self.game.job.slots // 64
        left = [self.kind[lane][block - first] for block in chosen]
        picked, word = [], start
        while left:
            for block in sorted(b for b in blocks if (b - first) // 64 == word):
                if self.kind[lane][block - first] in left:
                    left.remove(self.kind[lane][block - first])
                    picked.append(block)
            if left:
                word = (word + 1) % words
        return picked, word

    def terms(self, t, into, out):
        game, step = self.game, self.game.steps[t]
        append = sum(size for _, size, _ in step.appends)
        in_hbm = sum(size for block, size, _ in step.appends if block in game.resident)
        hits = len(step.read & game.resident)
        count = times.Count(len(step.read), hits, 0, append, in_hbm, into, into, out)
        moved = times.moved(game.variant, count, game.size, step.hbm_bytes)
        (m,), _ = times.group(game.variant, game.rates, [moved], step.compute_s)
        hbm = m.weights_hbm + m.attention_hbm + m.append_hbm + m.promotion_hbm + m.demotion_hbm
        paths = times.dram_paths(
            game.variant, game.rates, m.attention_dram, m.append_dram, m.promotion_dram,
            m.demotion_dram,
        )  # fmt: skip
        return [hbm / game.rates.hbm, *(seconds for _, seconds in paths), step.compute_s]

    def seconds(self, t, into, out, price):
        found = self.terms(t, into, out)
        if self.game.barrier == "layer":
            return max(found)
        return sum(p * seconds for p, seconds in zip(price, found, strict=True))

    def note_binding(self, t, into, out):
        game, lane = self.game, self.game.steps[t].lane
        self.sums = [a + b for a, b in zip(self.sums, self.terms(t, into, out), strict=True)]
        lanes = [lane]
        if game.barrier == "token":
            if game.steps[t + 1].lane > lane:
                return
            lanes = range(game.job.lanes)
        longest = 0
        for k, seconds in enumerate(self.sums):
            if seconds > self.sums[longest] * (1 + 1e-9):
                longest = k
        pace = max(PACE, 1.0 / (1 + self.visits[lane]))
        for each in lanes:
            self.price[each] = [
                p + pace * ((k == longest) - p) for k, p in enumerate(self.price[each])
            ]
        self.sums = [0.0] * len(self.sums)


def mixed(word):
    """The finaliser of splitmix64."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & MASK
    return word ^ (word >> 31)
