"""How a selection moves, against plain definitions over sets."""

import numpy as np
import pytest

from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.workload import dynamics, open_workload
from hmsim.workload.dynamics import AGES, AWAY, BEST, BUFFERS, LAGS, LEARNT, measure_dynamics

SIZE = 2


@pytest.fixture(scope="module")
def workload():
    return open_workload(
        WorkloadSpec(
            model="gpt2", layers=3, tokens=(100, 180), block_tokens=SIZE, drift=0.5, sparsity=0.7
        )
    )


@pytest.fixture(scope="module")
def sets(workload):
    """[token][layer] sets of positions."""
    found = []
    for chunk in workload.chunks():
        for bits in chunk.bits:
            found.append(np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little")))
    layers = workload.geometry.lanes
    flat = [set(each.tolist()) for each in found]
    return [flat[k : k + layers] for k in range(0, len(flat), layers)]


def share(pairs):
    """Of the blocks of the second sets, those that the first hold."""
    return sum(len(a & b) for a, b in pairs) / sum(len(b) for _, b in pairs)


def test_what_stays_and_what_layers_share(workload, sets):
    found = measure_dynamics(workload)
    tokens, layers = len(sets), len(sets[0])
    for lag, value in zip(LAGS, found.persistence, strict=True):
        pairs = [(sets[t + lag][v], sets[t][v]) for t in range(tokens - lag) for v in range(layers)]
        assert value == pytest.approx(share(pairs)) if pairs else np.isnan(value)
    for away, value in zip(AWAY, found.overlap_away, strict=True):
        pairs = [(row[v - away], row[v]) for row in sets for v in range(away, layers)]
        assert value == pytest.approx(share(pairs)) if pairs else np.isnan(value)
    both = [(sets[t + 1][v], sets[t][v]) for t in range(tokens - 1) for v in range(layers)]
    assert found.slash == pytest.approx(share([({b - 1 for b in a}, b) for a, b in both]))
    assert found.mirror == pytest.approx(share([({b + 1 for b in a}, b) for a, b in both]))
    by_layer = [
        np.mean([len(sets[t][v] & sets[t + 1][v]) / len(sets[t + 1][v]) for t in range(tokens - 1)])
        for v in range(layers)
    ]
    assert found.overlap_spread == pytest.approx(np.std(by_layer))


def test_ages_and_stays(workload, sets):
    found = measure_dynamics(workload)
    reads = sum(len(read) for row in sets for read in row)
    for age, value in zip(AGES, found.newest_share, strict=True):
        near = sum(
            len([b for b in read if (100 + t) // SIZE - b < age])
            for t, row in enumerate(sets)
            for read in row
        )
        assert value == pytest.approx(near / reads)
    assert found.first_block == np.mean([0 in read for row in sets for read in row])
    lengths = []
    for layer in range(len(sets[0])):
        for block in range(128):
            line = "".join("x" if block in row[layer] else " " for row in sets)
            lengths += [len(stay) for stay in line.split()]
    assert found.mean_stay == pytest.approx(np.mean(lengths))
    assert found.one_step_stays == pytest.approx(np.mean(np.array(lengths) == 1))


def misses_of(sets, multiple):
    """Of an LRU buffer a layer, token by token: [tokens, layers]."""
    layers = len(sets[0])
    misses = np.zeros((len(sets), layers))
    for layer in range(layers):
        size = round(multiple * np.mean([len(row[layer]) for row in sets]))
        stack = []
        for token, row in enumerate(sets):
            held = set(stack[:size])
            misses[token, layer] = len((row[layer] - held) & set(stack))
            for block in sorted(row[layer]):
                if block in stack:
                    stack.remove(block)
                stack.insert(0, block)
    assert misses.sum() > 0
    return misses


def test_misses_and_what_is_learnt(workload, sets):
    found = measure_dynamics(workload)
    layers = len(sets[0])
    reads = sum(len(read) for row in sets for read in row)
    for multiple, value in zip(BUFFERS, found.lru_misses, strict=True):
        assert value == pytest.approx(misses_of(sets, multiple).sum() / reads)
    misses = misses_of(sets, 2.0)
    means = np.mean([[len(read) for read in row] for row in sets], axis=0)
    assert found.miss_peaks == pytest.approx(np.maximum(misses - 0.1 * means, 0).sum() / reads)
    of_layer = misses.mean(axis=0)
    assert found.miss_spread == pytest.approx(of_layer.std() / of_layer.mean())
    assert found.miss_dispersion == pytest.approx(misses.var() / misses.mean())
    total = misses.sum(axis=1)
    moved = total - total.mean()
    assert found.miss_memory == pytest.approx((moved[1:] * moved[:-1]).mean() / total.var())
    assert found.miss_common == pytest.approx(total.var() / misses.var(axis=0).sum())
    caught = later = 0
    blocks = 180 // SIZE + 1
    for layer in range(layers):
        early = [sum(b in row[layer] for row in sets[:LEARNT]) for b in range(blocks)]
        best = set(sorted(range(blocks), key=lambda b: (-early[b], b))[: round(BEST * blocks)])
        caught += sum(len(row[layer] & best) for row in sets[LEARNT:])
        later += sum(len(row[layer]) for row in sets[LEARNT:])
    assert found.best_caught == pytest.approx(caught / later)


def test_misses_of_the_most_read(workload, sets):
    misses = 0
    for layer in range(len(sets[0])):
        size = round(2.0 * np.mean([len(row[layer]) for row in sets]))
        count = dict.fromkeys(range(128), 0)
        for row in sets:
            held = sorted(count, key=lambda b: (count[b], b))[-size:]
            misses += sum(count[b] > 0 and b not in held for b in row[layer])
            for block in row[layer]:
                count[block] += 1
    reads = sum(len(read) for row in sets for read in row)
    assert misses > 0
    assert measure_dynamics(workload).lfu_misses == pytest.approx(misses / reads)


def test_misses_of_a_buffer_that_layers_share(workload, sets, monkeypatch):
    """A block is held as long as fewer others than fit were read in later steps."""
    monkeypatch.setattr(dynamics, "SHARE", 0.2)
    layers, prompt = len(sets[0]), 100 // SIZE
    size = round(0.2 * layers * (180 // SIZE + 1))
    last, misses, first = {}, np.zeros((len(sets), layers)), 0
    for token, row in enumerate(sets):
        for layer, read in enumerate(row):
            for block in read:
                step = last.get((layer, block))
                if step is None:
                    first += block < prompt
                    misses[token, layer] += block < prompt
                else:
                    misses[token, layer] += sum(each > step for each in last.values()) >= size
            last |= dict.fromkeys([(layer, block) for block in read], token * layers + layer)
    found = measure_dynamics(workload)
    reads = sum(len(read) for row in sets for read in row)
    assert misses.sum() > first > 0
    assert found.shared_misses == pytest.approx(misses.sum() / reads)
    means = np.mean([[len(read) for read in row] for row in sets], axis=0)
    assert found.shared_peaks == pytest.approx(np.maximum(misses - 0.1 * means, 0).sum() / reads)


def test_what_enters_from_afar(workload, sets, monkeypatch):
    monkeypatch.setattr(dynamics, "FAR", 20)
    old = entered = 0
    for t in range(1, len(sets)):
        for layer, read in enumerate(sets[t]):
            far = {b for b in read if (100 + t) // SIZE - b >= 20}
            old, entered = old + len(far), entered + len(far - sets[t - 1][layer])
    assert entered > 0
    assert measure_dynamics(workload).far_entering == pytest.approx(entered / old)


def test_as_json_keys_curves_by_what_they_are_of(workload):
    found = measure_dynamics(workload).as_json()
    assert found["persistence"]["512"] is None
    assert set(found["newest_share"]) == {str(age) for age in AGES}


def test_several_sequences_are_refused():
    batch = open_workload(WorkloadSpec(model="gpt2", layers=2, tokens=(50, 52), copies=2))
    with pytest.raises(InputError, match="of one sequence, layer by layer"):
        measure_dynamics(batch)
