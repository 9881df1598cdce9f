"""What each rule of a capture reads, as its description says it, block by block."""

import math


def heads_of(spec, groups, shared):
    """The heads that choose together."""
    every = [(g, m) for g in range(groups) for m in range(shared)]
    if spec.heads == "mean":
        return [every]
    return [[head for head in every if head[0] == g] for g in range(groups)]


def best(scores, count):
    """The `count` best, the newest first among equals."""
    return set(sorted(range(len(scores)), key=lambda i: (-scores[i], -i))[:count])


def read_by(spec, query, attention, keys):
    """[lanes] sets of blocks: query [G, M, D], attention [G, M, past], keys [G, past, D]."""
    past = keys.shape[1]
    size, found = spec.block_tokens, []
    starts = range(0, past, size)
    for heads in heads_of(spec, *query.shape[:2]):
        mass = [sum(float(attention[h][i]) for h in heads) for i in range(past)]
        if spec.rule == "window":
            tokens = {i for i in range(past) if i < spec.sink or i >= past - spec.window}
        elif spec.rule == "tokens":
            tokens = best(mass, spec.budget)
        elif spec.rule == "share":
            tokens = best(mass, math.ceil((1 - spec.sparsity) * (past + 1) - 1e-9))
        else:
            scores = [sum(mass[a : a + size]) for a in starts]
            if spec.rule == "quest":
                scores = []
                for a in starts:
                    total = 0.0
                    for g, m in heads:
                        for c in range(keys.shape[2]):
                            products = [query[g, m, c] * k for k in keys[g, a : a + size, c]]
                            total += max(products)
                    scores.append(total)
            found.append(best(scores, spec.budget // size))
            continue
        found.append({i // size for i in tokens})
    return [set.union(*found)] if spec.heads == "union" else found
