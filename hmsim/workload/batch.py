"""Continuous batching: which sequences decode at which token step, and where their blocks lie.

All layers see the same sequences, so a schedule is of token steps and of the slots of one lane.
A sequence's blocks have *local* numbers 0, 1, ... by position; `run_*` map them to slots, in runs of
whole words. A slot is never used twice, and a block's local number and its slot always agree modulo
64:

    local    | 0 .. 63 | 64 .. 127 | 128 .. 150 |           words 0, 1, 2 of the sequence
                  |          |           |
                  | +5 words | +5        | +9                run_shift of two runs
                  v          v           v
    slot     |320 .. 383|384 .. 447| ... |704 .. 726|        words 5, 6 and 11 of the lane

So a bitset over local numbers moves into a row of the lane's slots word by word, without shifting
bits. Sequences that share a prompt prefix share its blocks.
"""

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np

from hmsim.errors import InputError
from hmsim.workload.requests import Requests
from hmsim.workload.steps import I64, U64


class Schedule(NamedTuple):
    """T token steps of S sequences. CSR: row t of `x` is `x[x_offset[t] : x_offset[t + 1]]`."""

    steps: int  # T
    first_token: int  # what the first token step is called
    slots: int  # of a lane, a multiple of 64
    block_tokens: int
    seats: int  # sequences at once, at most
    start: I64  # [S] first token step
    stop: I64  # [S] one past the last
    seat: I64  # [S] in 0 .. seats - 1, no two sequences at once on the same
    prompt: I64  # [S] tokens before the first step
    blocks: I64  # [S] that the sequence ever has
    word: I64  # [S + 1] first word of the sequence's bitset over local blocks
    run_offset: I64  # [S + 1]
    run_block: I64  # first local block of the run
    run_end: I64  # one past its last
    run_shift: I64  # words to add to a local word to get the lane's
    active_offset: I64  # [T + 1]
    active: I64  # sequences that decode at the step
    append_offset: I64  # [T + 1]
    append_slot: I64
    append_tokens: I64
    append_born: I64
    death_offset: I64  # [T + 1]
    death_slot: I64
    alive: U64  # [slots / 64] bitset of the slots that hold a block before step 0

    def owners(self) -> tuple[I64, I64]:
        """Sequence (the first, of a shared block) and local number of the block at each slot; -1:
        none.
        """
        sequence = np.full(self.slots, -1, np.int64)
        block = np.full(self.slots, -1, np.int64)
        for s in range(self.start.size - 1, -1, -1):
            for run in range(self.run_offset[s], self.run_offset[s + 1]):
                blocks = np.arange(self.run_block[run], self.run_end[run])
                sequence[blocks + 64 * self.run_shift[run]] = s
                block[blocks + 64 * self.run_shift[run]] = blocks
        return sequence, block


def alike(first: int, last: int, copies: int, block_tokens: int) -> Schedule:
    """Sequences with tokens 0 .. first - 1 as prompt that decode tokens first .. last together."""
    decode = last - first + 1
    lengths = np.full(copies, first), np.full(copies, decode)
    requests = Requests(np.zeros(copies), *lengths, [()] * copies)
    return schedule(requests, block_tokens, copies, decode)._replace(first_token=first)


def schedule(
    requests: Requests,
    block_tokens: int,
    batch: int,
    steps: int,
    step_time: float = 0.0,
    token_limit: int | None = None,
) -> Schedule:
    """Decode `requests` in order of arrival, at most `batch` at once, for `steps` token steps.

    A waiting request starts when a place is free and, with `token_limit`, when the prompts and
    outputs of all running requests stay within that many tokens. `step_time` (seconds a step)
    paces arrivals; with 0 all requests wait from the start. One that follows another starts after
    that one's end, and with `step_time` after its wait. The schedule ends early when nothing is
    left to decode.
    """
    if step_time and not requests.timed:
        raise InputError("step_time: paces arrivals, and these requests have none; leave it out")
    largest = int((requests.prompt + requests.output).max(initial=0))
    if token_limit is not None and largest > token_limit:
        raise InputError(f"token_limit: {token_limit} is below the longest request, {largest}")
    plan, queue = _Plan(requests, block_tokens, steps), _Queue(requests, step_time > 0)
    step, now = 0, 0.0
    while step < steps and (queue or plan.running):
        for request in plan.retire(step):
            queue.ended(request, now)
        if not plan.running and queue:
            now = max(now, queue.head()[0])
        while queue and len(plan.running) < batch:
            ready, request = queue.head()
            need = int(requests.prompt[request] + requests.output[request])
            if ready > now or (token_limit is not None and plan.tokens + need > token_limit):
                break
            queue.pop()
            plan.admit(request, step)
        if plan.running:
            plan.decode(step)
            step += 1
        now += step_time
    return plan.finish(step)


class _Queue:
    """Requests by the time from which they may start: those that arrive, and those that follow."""

    def __init__(self, requests: Requests, timed: bool) -> None:
        self._requests, self._timed = requests, timed
        own = np.arange(requests.prompt.size)
        self._followers: dict[int, list[int]] = {}
        if requests.after is not None:
            for request in np.flatnonzero(requests.after >= 0).tolist():
                self._followers.setdefault(int(requests.after[request]), []).append(request)
            own = own[requests.after < 0]
        self._arriving = deque(own.tolist())
        self._free: list[tuple[float, int]] = []  # a heap: ready, request

    def __bool__(self) -> bool:
        return bool(self._arriving or self._free)

    def head(self) -> tuple[float, int]:
        """The next request, and from when on; 0 where nothing is timed."""
        heads = [self._free[0]] if self._free else []
        if self._arriving:
            request = self._arriving[0]
            heads.append((float(self._requests.arrival_s[request]) * self._timed, request))
        return min(heads)

    def pop(self) -> None:
        """Take the head off."""
        if self._free and self.head() == self._free[0]:
            heappop(self._free)
        else:
            self._arriving.popleft()

    def ended(self, request: int, now: float) -> None:
        """Those that follow the request may start, once they have waited."""
        for follower in self._followers.pop(request, ()):
            assert self._requests.wait_s is not None
            ready = (now + float(self._requests.wait_s[follower])) * self._timed
            heappush(self._free, (ready, follower))


class _Running(NamedTuple):
    request: int
    sequence: int
    seat: int
    end: int  # token step at which it is gone
    need: int  # tokens, prompt and output
    prompt: int
    start: int
    first_private: int  # local block
    base: int  # slot of local block 0, were it private
    last_block: int  # one past
    shared: Sequence[int]  # hash ids of the full prefix blocks that it holds


class _Plan:
    """The schedule while it grows, token step by token step."""

    def __init__(self, requests: Requests, block_tokens: int, steps: int) -> None:
        self.requests, self.block_tokens, self.horizon = requests, block_tokens, steps
        self.running: list[_Running] = []
        self.tokens = 0  # reserved by the running sequences
        self.words = 0  # of the lane, given out so far
        self.local_words = [0]
        self.sequences: list[
            tuple[int, int, int, int, int]
        ] = []  # start, stop, seat, prompt, blocks
        self.free: list[int] = []  # seats given back
        self.runs: list[list[tuple[int, int, int]]] = []  # block, end, shift
        self.prefix: dict[int, list[int]] = {}  # hash id: [slot of its first block, blocks, users]
        self.active: list[list[int]] = []
        self.appends: list[list[tuple[int, int, int]]] = []  # slot, tokens, born
        self.deaths: list[list[int]] = [[]]
        self.alive: list[int] = []

    def first_block(self, i: int) -> int:
        """The first block that ends within the prompt's i-th hash id, which decides what it holds."""
        return i * self.requests.hash_tokens // self.block_tokens

    def admit(self, request: int, step: int) -> None:
        """Start a request: share what is there of its prefix, give slots to the rest."""
        size = self.block_tokens
        prompt, output = (int(x[request]) for x in (self.requests.prompt, self.requests.output))
        decoded = min(output, self.horizon - step)
        last_block = -(-(prompt + decoded) // size)
        full = self.requests.hashes[request][: prompt // self.requests.hash_tokens]
        found = next((i for i, id in enumerate(full) if id not in self.prefix), len(full))
        private = self.first_block(found)
        shift = self.words - private // 64
        self.words += -(-(private % 64 + last_block - private) // 64)

        runs: list[tuple[int, int, int]] = []
        for i, id in enumerate(full[:found]):
            entry = self.prefix[id]
            entry[2] += 1
            block = self.first_block(i)
            _extend(runs, block, block + entry[1], entry[0] // 64 - block // 64)
        _extend(runs, private, last_block, shift)
        base = shift * 64
        for i, id in enumerate(full[found:], found):
            block = self.first_block(i)
            self.prefix[id] = [base + block, self.first_block(i + 1) - block, 1]

        sequence = len(self.sequences)
        seat = self.free.pop() if self.free else len(self.running)
        self.sequences.append((step, step + decoded, seat, prompt, last_block))
        self.runs.append(runs)
        self.local_words.append(self.local_words[-1] + -(-last_block // 64))
        self.running.append(
            _Running(
                request, sequence, seat, step + decoded, prompt + output,
                prompt, step, private, base, last_block, full,
            )
        )  # fmt: skip
        self.tokens += prompt + output

    def decode(self, step: int) -> None:
        """One token of every running sequence; the prompts of those that start now."""
        size = self.block_tokens
        appends: list[tuple[int, int, int]] = []
        for run in self.running:
            token = run.prompt + step - run.start
            block = token // size
            if step == run.start:
                prompt = [
                    (run.base + p, min(size, run.prompt - p * size), 1)
                    for p in range(run.first_private, -(-run.prompt // size))
                ]
                if step == 0:
                    self.alive += [slot for slot, _, _ in prompt]
                else:
                    appends += prompt
            slot = run.base + block
            if appends and appends[-1][0] == slot:  # the last prompt block, born this step
                appends[-1] = (slot, appends[-1][1] + 1, 1)
            else:
                appends.append((slot, 1, int(token % size == 0)))
        self.active.append([run.sequence for run in self.running])
        self.appends.append(sorted(appends))
        self.deaths.append([])

    def retire(self, step: int) -> list[int]:
        """Let go of the sequences that ended, and say whose they were; a shared block dies with its
        last user."""
        ended = [run for run in self.running if run.end <= step]
        for run in ended:
            self.running.remove(run)
            self.free.append(run.seat)
            self.tokens -= run.need
            private = self.first_block(len(run.shared))
            dead = list(range(run.base + private, run.base + run.last_block))
            for id in run.shared:
                entry = self.prefix[id]
                entry[2] -= 1
                if entry[2] == 0:
                    del self.prefix[id]
                    dead += range(entry[0], entry[0] + entry[1])
            self.deaths[step] = sorted(self.deaths[step] + dead)
        return [run.request for run in ended]

    def finish(self, steps: int) -> Schedule:
        start, stop, seat, prompt, blocks = np.array(self.sequences, np.int64).T.copy()
        run_offset, runs = _csr(self.runs, 3)
        append_offset, appends = _csr(self.appends, 3)
        active_offset, active = _csr([[(s,) for s in row] for row in self.active], 1)
        deaths = [[(slot,) for slot in row] for row in self.deaths[:steps]]
        death_offset, dead = _csr(deaths, 1)
        alive = np.zeros(self.words, np.uint64)
        for slot in self.alive:
            alive[slot // 64] |= np.uint64(1 << (slot % 64))
        return Schedule(
            steps=steps,
            first_token=0,
            slots=self.words * 64,
            block_tokens=self.block_tokens,
            seats=int(seat.max()) + 1,
            start=start,
            stop=stop,
            seat=seat,
            prompt=prompt,
            blocks=blocks,
            word=np.array(self.local_words, np.int64),
            run_offset=run_offset,
            run_block=runs[0],
            run_end=runs[1],
            run_shift=runs[2],
            active_offset=active_offset,
            active=active[0],
            append_offset=append_offset,
            append_slot=appends[0],
            append_tokens=appends[1],
            append_born=appends[2],
            death_offset=death_offset,
            death_slot=dead[0],
            alive=alive,
        )


def _extend(runs: list[tuple[int, int, int]], block: int, end: int, shift: int) -> None:
    """Add blocks `block .. end - 1`, joined to the last run where they continue it."""
    if runs and runs[-1][2] == shift:
        runs[-1] = (runs[-1][0], end, shift)
    elif end > block:
        runs.append((block, end, shift))


def _csr(rows: Sequence[Sequence[tuple[int, ...]]], width: int) -> tuple[I64, I64]:
    """Offsets and `[width, entries]` columns of rows of tuples."""
    offset = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offset[1:])
    flat = np.array([entry for row in rows for entry in row], np.int64).reshape(-1, width)
    return offset, np.ascontiguousarray(flat.T)
