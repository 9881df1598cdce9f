"""Placement policies as rules over sets of blocks, and the slow driver that plays them.

A rule answers `decide(t)` with the blocks to promote and to demote, in order; it sees everything
through the `Game` that it is given at the start.
"""

import math
from fractions import Fraction

import numpy as np

from tests.oracles import times
from tests.oracles.job import Job, job_of


class Game:
    """The state that rules look at: what exists, what is in HBM, all steps.

    `before[t]` and `after[t]` recall what was in HBM while step t ran, and once its moves were done
    and the dying gone.
    """

    def __init__(self, workload, capacity, rates, variant, barrier="layer"):
        self.job = job = workload if isinstance(workload, Job) else job_of(workload)
        self.capacity, self.rates, self.variant = capacity, rates, variant
        self.barrier = barrier
        self.size, self.steps, self.prompt = job.block_bytes, job.steps, job.prompt
        self.alive, self.resident = set(self.prompt), set()
        self.before, self.after = [], []

    def coming(self, t, window):
        """The sets that the lane of step t reads at its next `window` visits."""
        lane = self.steps[t].lane
        return [self.steps[u].read for u in self.visits(t, lane, window)]

    def visits(self, t, lane, window):
        """The next `window` steps of a lane after step t."""
        steps = range(t + 1, len(self.steps))
        return [u for u in steps if self.steps[u].lane == lane][:window]

    def next_needs(self, t, window):
        """The next step that needs a block, for all blocks needed by their lane's next visits."""
        needs = {}
        for lane in {step.lane for step in self.steps}:
            for u in reversed(self.visits(t, lane, window)):
                needs |= dict.fromkeys(self.steps[u].read, u)
        return needs

    def lane(self, block):
        return block // self.job.slots

    def play(self, rule):
        """Counts as in `traffic.COUNTS`, a row a step."""
        self.resident = set(rule.begin(self))
        rows = []
        for t, step in enumerate(self.steps):
            read, appends = step.read, step.appends
            if t == 0:
                self._give_birth(0, lambda block: True)
            row = [
                len(read), len(read & self.resident), len(self.resident),
                sum(size for _, size, _ in appends),
                sum(size for block, size, _ in appends if block in self.resident), 0, 0, 0, 0,
            ]  # fmt: skip
            rows.append(row)
            self.before.append(set(self.resident))
            if t + 1 == len(self.steps):
                self.after.append(set(self.resident))
                break
            dying = self.steps[t + 1].dying
            promote, demote = rule.decide(t)
            assert self.resident.issuperset(demote)
            assert self.alive.issuperset(promote)
            assert not self.resident.intersection(promote)
            row[5] = len(set(promote) - dying)
            row[6] = len((set(promote) & read) - dying)
            row[7] = len(set(demote) - dying)
            self.resident = (self.resident - set(demote) | set(promote)) - dying
            assert len(self.resident) <= self.capacity
            self.after.append(set(self.resident))
            self.alive -= dying
            self._give_birth(t + 1, rule.place)
        return np.array(rows)

    def _give_birth(self, t, place):
        for block, _, born in self.steps[t].appends:
            if born:
                self.alive.add(block)
                if place(block) and len(self.resident) < self.capacity:
                    self.resident.add(block)


class Rule:
    """Starts from the oldest blocks, moves nothing, and takes newborns in while there is room."""

    def begin(self, game):
        self.game = game
        return game.prompt[: game.capacity]

    def place(self, block):
        return True

    def decide(self, t):
        return [], []

    def swap(self, wanted, victims):
        """Promote in order while there is room or a victim."""
        room = self.game.capacity - len(self.game.resident)
        fit = wanted[: room + len(victims)]
        return fit, victims[: max(0, len(fit) - room)]


class Interleaved(Rule):
    def __init__(self, share):
        self.share, self.born = share, 0

    def begin(self, game):
        self.game = game
        return [block for block in game.prompt if self.place(block)][: game.capacity]

    def place(self, block):
        self.born += 1
        return np.floor(self.born * self.share) > np.floor((self.born - 1) * self.share)


class Lru(Rule):
    """`last` maps a block to when it was used last, older ones comparing less."""

    def begin(self, game):
        self.game = game
        self.last = {block: (-1, i) for i, block in enumerate(game.prompt)}
        return game.prompt[: game.capacity]

    def decide(self, t):
        game = self.game
        read = game.steps[t].read
        used = read | {block for block, _, _ in game.steps[t].appends}
        self.last |= {block: (t, block) for block in used}
        victims = sorted(game.resident - used, key=self.last.get)
        return self.swap(sorted(read - game.resident)[: self.most(t)], victims)

    def most(self, t):
        return None


class Balanced(Lru):
    def most(self, t):
        game = self.game
        read = game.steps[t].read
        other, hits, most = game.steps[t].hbm_bytes, len(read & game.resident), 0
        demand = other + game.size * len(read)
        while other + game.size * (hits + most) < game.rates.split * demand:
            most += 1
        return most


class Slack(Lru):
    def __init__(self, stretch, payback=0.0):
        self.stretch, self.payback = stretch, payback

    def most(self, t):
        game = self.game
        _, _, read, appends, _, weights, floor_s = game.steps[t]
        hits = len(read & game.resident)
        room = game.capacity - len(game.resident)
        append = sum(size for _, size, _ in appends)
        in_hbm = sum(size for block, size, _ in appends if block in game.resident)

        def seconds(moves):
            out = max(0, moves - room)
            count = times.Count(len(read), hits, 0, append, in_hbm, moves, moves, out)
            moved = times.moved(game.variant, count, game.size, weights)
            return times.group(game.variant, game.rates, [moved], floor_s)[1]

        limit = seconds(0) * (1 + self.stretch) * (1 + 1e-12)
        misses = len(read) - hits
        fit = max(moves for moves in range(misses + 1) if seconds(moves) <= limit)
        # A read from DRAM takes as long as its slowest part: of all variants, the off-package rate.
        worth, paid = self.payback * game.size / game.rates.off_package, 0
        while paid < misses and seconds(paid + 1) <= (seconds(paid) + worth) * (1 + 1e-12):
            paid += 1
        return max(fit, paid)


class Lookahead(Rule):
    def __init__(self, window, share):
        self.window, self.share = window, share

    def decide(self, t):
        game = self.game
        ahead = game.coming(t, self.window)
        reads = {block: sum(block in read for read in ahead) for block in set().union(*ahead)}
        wanted = [block for block in reads if block in game.alive - game.resident]
        wanted.sort(key=lambda block: (-reads[block], block))
        here = [block for block in game.resident if game.lane(block) == game.steps[t].lane]
        victims = sorted(block for block in here if block not in reads)
        return self.swap(wanted[: int(np.ceil(self.share * len(wanted)))], victims)


class LookaheadAll(Lru):
    """Any layer's blocks make place, the least recently used first."""

    def __init__(self, window, share):
        self.window, self.share = window, share

    def decide(self, t):
        game = self.game
        _, _, read, appends, *_ = game.steps[t]
        self.last |= {b: (t, b) for b in read | {block for block, _, _ in appends}}
        ahead = game.coming(t, self.window)
        reads = {block: sum(block in read for read in ahead) for block in set().union(*ahead)}
        wanted = [block for block in reads if block in game.alive - game.resident]
        wanted.sort(key=lambda block: (-reads[block], block))
        idle = game.resident - game.next_needs(t, self.window).keys()
        return self.swap(
            wanted[: int(np.ceil(self.share * len(wanted)))], sorted(idle, key=self.last.get)
        )


class Page(Rule):
    def decide(self, t):
        game = self.game
        span = 16 if game.job.tokens_per_block == 1 else 1
        ahead = game.coming(t, 1)
        if not ahead:
            return [], []
        reads = ahead[0] & game.alive
        here = {block for block in game.alive if game.lane(block) == game.steps[t].lane}
        pages = {}
        for block in sorted(here):
            pages.setdefault(block // span, []).append(block)
        worth = {page: len(reads.intersection(blocks)) for page, blocks in pages.items()}
        held = {page: [b for b in pages[page] if b in game.resident] for page in pages}
        wanted = [page for page in pages if worth[page] and held[page] != pages[page]]
        wanted.sort(key=lambda page: (-worth[page], page))
        victims = sorted((p for p in pages if held[p]), key=lambda page: (worth[page], page))
        room = game.capacity - len(game.resident)
        promote, demote, dearest = [], [], -1
        for page in wanted:
            missing = [block for block in pages[page] if block not in game.resident]
            going, freed = [], room
            while (
                freed < len(missing)
                and len(going) < len(victims)
                and worth[victims[len(going)]] < worth[page]
            ):
                freed += len(held[victims[len(going)]])
                going.append(victims[len(going)])
            if worth[page] <= dearest or freed < len(missing):
                break
            for victim in going:
                demote += held[victim]
                dearest = worth[victim]
            victims = victims[len(going) :]
            promote += missing
            room = freed - len(missing)
        return promote, demote


class Belady(Lru):
    def __init__(self, window):
        self.window = window

    def decide(self, t):
        game = self.game
        _, lane, read, appends, *_ = game.steps[t]
        used = read | {block for block, _, _ in appends}
        self.last |= {block: (t, block) for block in used}
        ahead = game.coming(t, self.window)

        def next_use(block):
            return next((d for d, reads in enumerate(ahead) if block in reads), len(ahead))

        wanted = [b for b in read - game.resident if next_use(b) < len(ahead)]
        wanted.sort(key=lambda block: (next_use(block), block))
        victims = [block for block in game.resident if game.lane(block) == lane]
        victims.sort(
            key=lambda block: (
                -next_use(block),
                self.last[block] if next_use(block) == len(ahead) else (0, block),
            )
        )
        room = game.capacity - len(game.resident)
        promote, demote = [], []
        for block in wanted:
            if room > 0:
                room -= 1
            elif victims and next_use(victims[0]) > next_use(block):
                demote.append(victims.pop(0))
            else:
                break
            promote.append(block)
        return promote, demote


class BeladyAll(Lru):
    """Any layer's blocks make place."""

    def __init__(self, window):
        self.window = window

    def decide(self, t):
        game = self.game
        _, _, read, appends, *_ = game.steps[t]
        self.last |= {b: (t, b) for b in read | {block for block, _, _ in appends}}
        needs = game.next_needs(t, self.window)
        wanted = sorted((read - game.resident) & needs.keys(), key=lambda b: (needs[b], b))
        victims = sorted(game.resident - needs.keys(), key=self.last.get)
        victims += sorted(game.resident & needs.keys(), key=lambda b: (-needs[b], b))
        room = game.capacity - len(game.resident)
        promote, demote = wanted[:room], []
        for block, victim in zip(wanted[room:], victims, strict=False):
            if needs.get(victim, np.inf) <= needs[block]:
                break
            promote.append(block)
            demote.append(victim)
        return promote, demote


class Scored(Rule):
    """`weight` None counts uses; else scores are moving averages, visit by visit, in fractions."""

    def __init__(self, weight):
        self.weight = None if weight is None else Fraction(weight)

    def begin(self, game):
        self.game = game
        residents = game.prompt[: game.capacity]
        self.score, self.visits, self.seen = {}, {}, {}
        self.waiting = {block: (0, block) for block in residents}
        return residents

    def level(self, block, visit):
        score = self.score[block]
        if self.weight is None or score == 0:
            return score
        fade, decay = 1 - self.weight, -math.log1p(-self.weight)
        offset = 1 + math.ceil(-math.log(self.weight) / decay)
        faded = math.ceil(-math.log(score) / decay)  # the least n with fade ** n <= score
        while fade ** (faded - 1) <= score:  # a logarithm is not exact
            faded -= 1
        while fade**faded > score:
            faded += 1
        return visit + offset - faded

    def decide(self, t):
        game = self.game
        _, lane, read, appends, *_ = game.steps[t]
        used = read | {block for block, _, _ in appends}
        visit = self.visits[lane] = self.visits.get(lane, 0) + 1
        for block in sorted(self.seen.get(lane, set()) - used):
            if block in game.resident:
                self.waiting[block] = (self.level(block, visit - 1), block)
        self.seen[lane] = used
        for block in used:
            self.waiting.pop(block, None)
            self.score.setdefault(block, Fraction(0))
        for block in self.score:
            if game.lane(block) == lane and self.weight is not None:
                self.score[block] *= 1 - self.weight
            if block in used:
                self.score[block] += self.weight or 1
        victims = sorted(game.resident & self.waiting.keys(), key=self.waiting.get)
        room = game.capacity - len(game.resident)
        promote, demote = [], []
        for block in sorted(read - game.resident):
            if room > 0:
                room -= 1
            elif victims and self.waiting[victims[0]][0] < self.level(block, visit):
                demote.append(victims.pop(0))
                del self.waiting[demote[-1]]
            else:
                continue
            promote.append(block)
        return promote, demote


class Cache(Rule):
    """Caches as the literature has them, one miss after another: the least number first.

    `hit` is told of residents that are used, newborns too; `victim` chooses one of `idle`, the
    residents that the step does not use, for the miss `block`; `enter` is told of what comes in.
    """

    def decide(self, t):
        game = self.game
        read = game.steps[t].read
        self.used = read | {block for block, _, _ in game.steps[t].appends}
        for block in sorted(self.used & game.resident):
            self.hit(block)
        room, idle = game.capacity - len(game.resident), game.resident - self.used
        promote, demote = [], []
        for block in sorted(read - game.resident):
            if room > 0:
                room -= 1
            elif idle:
                demote.append(self.victim(idle, block))
                idle.remove(demote[-1])
            else:
                break
            self.enter(block)
            promote.append(block)
        return promote, demote


class Sieve(Cache):
    """`queue` from the oldest to the newest; the hand is at an index of it."""

    def begin(self, game):
        self.game = game
        self.queue, self.marked, self.hand = game.prompt[: game.capacity], set(), 0
        return list(self.queue)

    def hit(self, block):
        if block in self.queue:
            self.marked.add(block)
        else:
            self.enter(block)

    def enter(self, block):
        self.queue.append(block)
        self.marked.discard(block)
        if self.hand == len(self.queue) - 1:  # the hand was behind the newest
            self.hand = 0

    def victim(self, idle, block):
        while True:
            self.hand %= len(self.queue)
            found = self.queue[self.hand]
            if found in self.used:
                self.hand += 1
            elif found not in idle:  # dead
                self.queue.pop(self.hand)
            elif found in self.marked:
                self.marked.remove(found)
                self.hand += 1
            else:
                return self.queue.pop(self.hand)


class S3Fifo(Cache):
    """Queues from the oldest to the newest."""

    def __init__(self, small):
        self.share = small

    def begin(self, game):
        self.game = game
        self.least = int(self.share * game.capacity)
        self.small, self.main, self.ghost = game.prompt[: game.capacity], [], []
        self.count = dict.fromkeys(self.small, 0)
        return list(self.small)

    def hit(self, block):
        if block in self.small or block in self.main:
            self.count[block] = min(3, self.count[block] + 1)
        else:
            self.enter(block)

    def enter(self, block):
        self.count[block] = 0
        if block in self.ghost:
            self.ghost.remove(block)
            self.main.append(block)
        else:
            self.small.append(block)

    def victim(self, idle, block):
        queues = ["small", "main"] if len(self.small) >= self.least else ["main", "small", "main"]
        for name in queues:
            found = self.from_small(idle) if name == "small" else self.from_main(idle)
            if found is not None:
                return found

    def from_small(self, idle):
        for block in [each for each in self.small if each not in self.used]:
            self.small.remove(block)
            if block in idle and self.count[block] > 1:
                self.count[block] = 0
                self.main.append(block)
            elif block in idle:
                self.ghost.append(block)
                if len(self.ghost) > self.game.capacity - self.least:
                    self.ghost.pop(0)
                return block

    def from_main(self, idle):
        while free := [each for each in self.main if each not in self.used]:
            self.main.remove(free[0])
            if free[0] in idle and self.count[free[0]] == 0:
                return free[0]
            if free[0] in idle:
                self.count[free[0]] -= 1
                self.main.append(free[0])


class Arc(Cache):
    """Queues from the least to the most recently used; names are those of the paper."""

    def begin(self, game):
        self.game, self.target, self.adapted = game, 0, None
        self.t1, self.t2, self.b1, self.b2 = game.prompt[: game.capacity], [], [], []
        return list(self.t1)

    def hit(self, block):
        for queue in (self.t1, self.t2):
            if block in queue:
                queue.remove(block)
                self.t2.append(block)
                return
        self.enter_recent(block)

    def enter_recent(self, block):
        self.t1.append(block)
        while self.b1 and len(self.t1) + len(self.b1) > self.game.capacity:
            self.b1.pop(0)
        while self.b2 and len(self.t1 + self.t2 + self.b1 + self.b2) > 2 * self.game.capacity:
            self.b2.pop(0)

    def adapt(self, block):
        if block in self.b1:
            more = max(1, len(self.b2) // len(self.b1))
            self.target = min(self.game.capacity, self.target + more)
        elif block in self.b2:
            self.target = max(0, self.target - max(1, len(self.b1) // len(self.b2)))

    def victim(self, idle, block):
        self.adapt(block)
        self.adapted = block
        first = len(self.t1) > self.target or (len(self.t1) == self.target and block in self.b2)
        queues = [(self.t1, self.b1), (self.t2, self.b2)]
        for queue, ghosts in queues if first else queues[::-1]:
            while queue and queue[0] not in self.used:
                ghosts.append(queue.pop(0))
                if ghosts[-1] in idle:
                    return ghosts[-1]
                ghosts.pop()  # dead

    def enter(self, block):
        if self.adapted != block:  # it took no one's place
            self.adapt(block)
        self.adapted = None
        for ghosts in (self.b1, self.b2):
            if block in ghosts:
                ghosts.remove(block)
                self.t2.append(block)
                return
        self.enter_recent(block)


class Lirs(Cache):
    """`stack` from the bottom up; `queue` of cold residents from the oldest on; `hot` blocks."""

    def __init__(self, cold):
        self.cold = cold

    def begin(self, game):
        self.game, self.used = game, set()
        self.most = max(0, game.capacity - max(1, int(self.cold * game.capacity)))
        self.stack, self.queue, self.hot = [], [], set()
        chosen = game.prompt[: game.capacity]
        game.resident = set(chosen)
        for block in chosen:
            self.enter(block)
        return chosen

    def hit(self, block):
        if block in self.queue:
            self.queue.remove(block)
            self.enter(block, room=False)
        else:
            self.enter(block)

    def enter(self, block, room=True):
        if block in self.hot or block in self.stack or (room and len(self.hot) < self.most):
            self.hot.add(block)
        else:
            self.queue.append(block)
        self.stack = [each for each in self.stack if each != block] + [block]
        self.settle()

    def settle(self):
        """Until the lowest of the stack is hot and alive, and hot blocks are not too many."""
        while self.stack:
            lowest = self.stack[0]
            if lowest not in self.used | self.game.resident:
                self.hot.discard(lowest)
            elif lowest in self.hot:
                if len(self.hot) <= self.most:
                    break
                self.hot.remove(lowest)
                self.queue.append(lowest)
            self.stack.pop(0)

    def victim(self, idle, block):
        for found in [each for each in self.queue if each not in self.used]:
            self.queue.remove(found)
            if found in idle:
                return found
        self.settle()
        self.hot.remove(self.stack[0])
        return self.stack.pop(0)


class WorkingSet(Rule):
    """`selections` by lane: the sets used at its visits, before the first of which all was."""

    def __init__(self, window):
        self.window, self.selections = window, {}

    def decide(self, t):
        game = self.game
        _, lane, read, appends, *_ = game.steps[t]
        past = self.selections.setdefault(lane, [set(game.prompt)])
        past.append(read | {block for block, _, _ in appends})
        here = {block for block in game.resident if game.lane(block) == lane}
        demote = sorted(here - set().union(*past[-self.window :]))
        room = game.capacity - len(game.resident) + len(demote)
        return sorted(read - game.resident)[:room], demote


class HiSparse(Rule):
    """`buffers` by lane and sequence: lists, the least recently used block first."""

    def __init__(self, buffer):
        self.tokens = buffer

    def begin(self, game):
        self.game, self.refused, self.buffers, self.whole = game, set(), {}, set()
        self.places = max(1, self.tokens // game.job.tokens_per_block)
        newest = []
        for block in reversed(game.prompt):
            buffer = self.buffer(block)
            buffer.insert(0, block)
            newest.append((len(buffer), game.lane(block), game.job.sequence[block], block))
        chosen = {n[-1] for n in sorted(newest)[: game.capacity] if n[0] <= self.places}
        for buffer in self.buffers.values():
            buffer[:] = [block for block in buffer if block in chosen]
        return chosen

    def buffer(self, block):
        key = self.game.lane(block), self.game.job.sequence[block]
        return self.buffers.setdefault(key, [])

    def place(self, block):
        return block not in self.refused

    def decide(self, t):
        game = self.game
        _, lane, read, appends, *_ = game.steps[t]
        used = read | {block for block, _, _ in appends}
        for buffer in self.buffers.values():
            buffer[:] = [block for block in buffer if block in game.resident]
        promote, demote = [], []

        def evict(buffer):
            if not buffer or buffer[0] in used:
                return False
            demote.append(buffer.pop(0))
            return True

        for block in sorted(used & game.resident):
            buffer = self.buffer(block)
            if block in buffer:
                buffer.remove(block)
            buffer.append(block)

        def shed(buffer):
            while len(buffer) > self.places and evict(buffer):
                pass

        def press():
            for request in sorted(self.whole, reverse=True):
                before, buffer = len(demote), self.buffers.get((lane, request), [])
                if len(buffer) > self.places:
                    self.whole.remove(request)
                    shed(buffer)
                    if len(demote) > before:
                        return len(demote) - before
            return 0

        def may_grow(block, buffer):
            return game.job.sequence[block] in self.whole or len(buffer) < self.places

        for (where, request), buffer in self.buffers.items():
            if where == lane and request not in self.whole:
                shed(buffer)
        room = game.capacity - len(game.resident) + len(demote)
        for block in sorted(read - game.resident):
            buffer = self.buffer(block)
            if room <= 0 and may_grow(block, buffer):
                room += press()
            if room > 0 and may_grow(block, buffer):
                room -= 1
            elif not evict(buffer):
                continue
            buffer.append(block)
            promote.append(block)
        for block in (block for block, _, born in game.steps[t + 1].appends if born):
            if room <= 0:
                room += press()
            if room > 0:
                room -= 1
            elif not evict(self.buffer(block)):
                self.refused.add(block)
        return promote, demote


class HiSparsePressure(HiSparse):
    """`whole`: requests that are bound to no buffer."""

    def begin(self, game):
        chosen, sequence = super().begin(game), game.job.sequence
        self.buffers = {}
        for block in game.prompt:
            self.buffer(block).append(block)
        newest = {block for buffer in self.buffers.values() for block in buffer[-self.places :]}
        for many in range(game.job.sequences + 1):
            kept = newest | {block for block in game.prompt if sequence[block] < many}
            if len(kept) <= game.capacity:
                chosen, self.whole = kept, set(range(many))
        for buffer in self.buffers.values():
            buffer[:] = [block for block in buffer if block in chosen]
        return chosen
