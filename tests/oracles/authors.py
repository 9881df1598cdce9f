"""The founding authors' strategies as plain Python over sets of tokens."""

import numpy as np


class Authors:
    """The founding authors' strategies: token sets by layer and one count."""

    def __init__(self, steps, prompt_tokens, limit, split, weights, size, window=1, share=1.0):
        self.reads = {}
        self.layers = 1 + max(lane for lane, *_ in steps)
        for i, (lane, read, appends, _) in enumerate(steps):
            slots_of = min(block for block, _, _ in appends)
            token = prompt_tokens + i // self.layers
            base = slots_of - token
            self.reads[token, lane] = sorted(block - base for block in read)
        self.first, self.last = prompt_tokens, prompt_tokens + len(steps) // self.layers - 1
        self.limit, self.split, self.weights, self.size = limit, split, weights, size
        self.window, self.share = window, share
        self.held = [set() for _ in range(self.layers)]
        self.cur = 0

    def add(self, token, layer):
        if token in self.held[layer]:
            return True
        if self.cur + 1 >= self.limit:
            return False
        self.held[layer].add(token)
        self.cur += 1
        return True

    def remove(self, token, layer):
        self.held[layer].remove(token)
        self.cur -= 1

    def prefix(self):
        for token in range(self.first):
            for layer in range(self.layers):
                if not self.add(token, layer):
                    return

    def first_reads(self):
        for n in range(self.first, self.last + 1):
            for layer in range(self.layers):
                for token in self.reads[n, layer]:
                    if token <= self.first and not self.add(token, layer):
                        return

    def page_prefix(self):
        for page in range(self.first // 16):
            if self.cur + 16 * self.layers > self.limit:
                return
            for token in range(16 * page, 16 * page + 15):
                for layer in range(self.layers):
                    self.add(token, layer)

    def run(self, strategy):
        """Rows of reads, hits, residents of the layer, beta, promoted, extra."""
        {"static": self.prefix, "page": self.page_prefix}.get(strategy, self.first_reads)()
        rows = []
        for n in range(self.first, self.last + 1):
            for layer in range(self.layers):
                read = self.reads[n, layer]
                row = [len(read), len(self.held[layer].intersection(read)), len(self.held[layer])]
                following = self.reads.get((n + 1, layer))
                row.append(int(self.newborn(strategy, n, layer, following or [])))
                promoted = extra = 0
                if strategy == "reactive":
                    promoted = self.reactive(n, layer, read)
                elif strategy == "page" and following is not None:
                    promoted, extra = self.page(layer, read, following)
                elif strategy == "lookahead1" and following is not None:
                    promoted = self.lookahead1(layer, read, following)
                elif strategy == "sa":
                    promoted = self.sa(n, layer, read)
                rows.append([*row, promoted, extra])
        return np.array(rows)

    def newborn(self, strategy, n, layer, following):
        if strategy == "page":
            if n % 16 == 0:
                return self.limit - self.cur >= 16 * self.layers and self.add(n, layer)
            return n - n % 16 in self.held[layer] and self.add(n, layer)
        if strategy in ("lookahead1", "sa"):
            if n not in following:
                return False
            if self.add(n, layer):
                return True
            victims = [t for t in sorted(self.held[layer]) if t < n and t not in following]
            if victims:
                self.remove(victims[0], layer)
        return self.add(n, layer)

    def reactive(self, n, layer, read):
        misses = [token for token in read if token not in self.held[layer]]
        for token in misses:
            while not self.add(token, layer):
                flushed = [each for each in self.held[layer] if each < n]
                if not flushed:
                    raise RecursionError("never ends")
                for each in flushed:
                    self.remove(each, layer)
        return len(misses)

    def page(self, layer, read, following):
        promoted = extra = 0
        whole = 16 * self.layers
        for token in following:
            if token in self.held[layer]:
                continue
            page = token // 16
            while True:
                tokens = range(16 * page, 16 * page + 16)
                if self.limit - self.cur >= whole:
                    missing = [(t, k) for t in tokens for k in range(self.layers)
                               if t not in self.held[k]]  # fmt: skip
                    if len(missing) < self.limit - self.cur:
                        for each, k in missing:
                            self.held[k].add(each)
                        self.cur += len(missing)
                        promoted += whole
                        extra += whole * (token in read)
                    break
                lower = [p for p in range(page) if 16 * p in self.held[0]]
                if not lower:
                    break
                for each in range(16 * lower[0], 16 * lower[0] + 16):
                    for k in range(self.layers):
                        if each in self.held[k]:
                            self.remove(each, k)
        return promoted, extra

    def lookahead1(self, layer, read, following):
        held = self.held[layer]
        hits = len(held.intersection(following))
        total = self.weights + len(following) * self.size
        delta = int((self.split * total - self.weights) / self.size) - hits
        if delta <= 0:
            return 0
        victims = [t for t in read if t in held and t not in following]
        candidates = [t for t in read if t in following and t not in held][: min(delta, hits)]
        for token in candidates:
            while not self.add(token, layer):
                if not victims:
                    break
                self.remove(victims.pop(0), layer)
        return len(candidates)

    def sa(self, n, layer, read):
        held = self.held[layer]
        score = {}
        for offset in range(1, self.window + 1):
            for token in self.reads.get((n + offset, layer), []):
                if token <= n:
                    score[token] = score.get(token, 0.0) + 1 / offset
        candidates = [t for t in read if t in score and t not in held]
        candidates.sort(key=lambda token: (-score[token], token))
        target = int(np.ceil(self.share * len(candidates)))
        placed = 0
        for token in candidates:
            if placed == target:
                break
            if not self.add(token, layer):
                outside = [t for t in sorted(held) if t not in score]
                if not outside:
                    continue
                self.remove(outside[0], layer)
                self.add(token, layer)
            placed += 1
        return placed
