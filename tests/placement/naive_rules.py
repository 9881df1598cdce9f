"""Placement policies as rules over sets of blocks, and the slow driver that plays them.

A rule answers `decide(t)` with the blocks to promote and to demote, in order; it sees everything
through the `Game` that it is given at the start.
"""

import numpy as np

from hmsim.placement.traffic import Steps, variant_traffic
from tests.placement.naive_policies import prompt_of, steps_of


class Game:
    """The state that rules look at: what exists, what is in HBM, all steps."""

    def __init__(self, workload, capacity, rates, variant):
        self.geometry, self.capacity = workload.geometry, capacity
        self.rates, self.variant, self.size = rates, variant, workload.geometry.block_bytes
        self.steps = steps_of(workload)
        chunks = list(workload.chunks())
        self.hbm_bytes = np.concatenate([chunk.hbm_bytes for chunk in chunks])
        self.compute_s = np.concatenate([chunk.compute_s for chunk in chunks])
        self.prompt = prompt_of(workload)
        self.alive, self.resident = set(self.prompt), set()

    def coming(self, t, window):
        """The sets that the lane of step t reads at its next `window` visits."""
        lane = self.steps[t][0]
        return [read for other, read, _, _ in self.steps[t + 1 :] if other == lane][:window]

    def lane(self, block):
        return block // self.geometry.slots

    def play(self, rule):
        """Counts as in `traffic.COUNTS`, a row a step."""
        self.resident = set(rule.begin(self))
        rows = []
        for t, (_, read, appends, _) in enumerate(self.steps):
            if t == 0:
                self._give_birth(0, lambda block: True)
            row = [
                len(read), len(read & self.resident), len(self.resident),
                sum(size for _, size, _ in appends),
                sum(size for block, size, _ in appends if block in self.resident), 0, 0, 0, 0,
            ]  # fmt: skip
            rows.append(row)
            if t + 1 == len(self.steps):
                break
            dying = self.steps[t + 1][3]
            promote, demote = rule.decide(t)
            assert self.resident.issuperset(demote)
            assert self.alive.issuperset(promote)
            assert not self.resident.intersection(promote)
            row[5] = len(set(promote) - dying)
            row[6] = len((set(promote) & read) - dying)
            row[7] = len(set(demote) - dying)
            self.resident = (self.resident - set(demote) | set(promote)) - dying
            assert len(self.resident) <= self.capacity
            self.alive -= dying
            self._give_birth(t + 1, rule.place)
        return np.array(rows)

    def _give_birth(self, t, place):
        for block, _, born in self.steps[t][2]:
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
        _, read, appends, _ = game.steps[t]
        used = read | {block for block, _, _ in appends}
        self.last |= {block: (t, block) for block in used}
        victims = sorted(game.resident - used, key=self.last.get)
        return self.swap(sorted(read - game.resident)[: self.most(t)], victims)

    def most(self, t):
        return None


class Balanced(Lru):
    def most(self, t):
        game = self.game
        read = game.steps[t][1]
        other, hits, most = game.hbm_bytes[t], len(read & game.resident), 0
        demand = other + game.size * len(read)
        while other + game.size * (hits + most) < game.rates.split * demand:
            most += 1
        return most


class Slack(Lru):
    def __init__(self, stretch):
        self.stretch = stretch

    def most(self, t):
        game = self.game
        _, read, appends, _ = game.steps[t]
        hits = len(read & game.resident)
        room = game.capacity - len(game.resident)

        def seconds(moves):
            counts = np.array([[
                len(read), hits, 0, sum(size for _, size, _ in appends),
                sum(size for block, size, _ in appends if block in game.resident),
                moves, moves, max(0, moves - room), 0,
            ]])  # fmt: skip
            steps = Steps(game.hbm_bytes[t : t + 1], game.compute_s[t : t + 1], np.arange(1))
            return variant_traffic(counts, steps, game.size, game.rates, game.variant).time_s[0]

        limit = seconds(0) * (1 + self.stretch) * (1 + 1e-12)
        return max(moves for moves in range(len(read) - hits + 1) if seconds(moves) <= limit)
