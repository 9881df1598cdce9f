"""A memory controller written from the rules, tick by tick: slow, plain, and only for tests.

Every command asks the whole history whether it may issue. Nothing is shared with hmsim but the
timing set's numbers and the address map.
"""

from typing import NamedTuple

from hmsim.config.memory import MemorySpec

READ, WRITE = 0, 1
COLUMN = ("RD", "WR", "RDA", "WRA")


class Request(NamedTuple):
    number: int
    arrived: int
    kind: int
    bank: int
    row: int
    line: int


class Place(NamedTuple):
    bus: int
    rank: int
    group: int
    bank: int


def rules(spec: MemorySpec) -> list[tuple[str, str, str, int]]:
    """(level, before, after, CK from the end of one command to the end of the other)."""
    t, r = spec.timing, spec.refresh
    write_end = t.nCWL + t.nBL
    hbm = spec.protocol == "hbm"
    scope = "bus" if hbm else "rank"
    long_write = t.nCWL + (t.nBL if hbm else t.nBLmax)
    return [
        ("bus", "RD RDA", "RD", t.nBL),
        ("bus", "WR WRA", "WR", t.nBL),
        ("bus", "RD RDA", "WR", t.nRTW),
        ("bus", "WR WRA", "RD", write_end + t.nWTRS),
        ("rank", "RD RDA", "RD", t.nCCDS),
        ("rank", "WR WRA", "WR", t.nCCDS),
        ("group", "RD RDA", "RD", t.nCCDL),
        ("group", "WR WRA", "WR", t.nCCDL),
        ("group", "WR WRA", "RD", long_write + t.nWTRL),
        (scope, "ACT", "ACT", t.nRRDS),
        ("group", "ACT", "ACT", t.nRRDL),
        ("bank", "ACT", "ACT", t.nRC),
        ("bank", "ACT", "RD", t.nRCDRD),
        ("bank", "ACT", "WR", t.nRCDWR),
        ("bank", "ACT", "PREpb", t.nRAS),
        ("bank", "PREpb", "ACT", t.nRP),
        ("bank", "RD", "PREpb", t.nRTP),
        ("bank", "WR", "PREpb", write_end + t.nWR),
        ("bank", "RDA", "ACT", t.nRTP + t.nRP),
        ("bank", "WRA", "ACT", write_end + t.nWR + t.nRP),
        (scope, "PREpb PREab", "PREpb PREab", t.nPPD),
        (scope, "RD", "PREab", t.nRTP),
        (scope, "WR", "PREab", write_end + t.nWR),
        (scope, "ACT", "PREab", t.nRAS),
        (scope, "PREab", "ACT", t.nRPab),
        (scope, "ACT", "REFab", t.nRC),
        (scope, "PREpb PREab", "REFab", t.nRP),
        (scope, "RDA", "REFab", t.nRTP + t.nRP),
        (scope, "WRA", "REFab", write_end + t.nWR + t.nRP),
        (scope, "REFab", "ACT PREab", r.nRFCab),
        *([] if hbm else [(scope, "REFab", "REFab", r.nRFCab)]),
    ]


class Controller:
    """One channel. `commands`: (tick, name, bank), `latencies` of reads in ticks."""

    def __init__(self, spec: MemorySpec, locate, queue=32, row_hit_first=True, refresh=False):
        self.spec, self.locate, self.queue = spec, locate, queue
        self.row_hit_first, self.refresh = row_hit_first, refresh
        self.hbm = spec.protocol == "hbm"
        self.ticks = 2 if self.hbm else 1
        self.rules = rules(spec)
        organization = spec.organization
        self.banks = (
            organization.pseudo_channels
            * organization.ranks
            * organization.bank_groups
            * organization.banks
        )
        self.open = [None] * self.banks
        self.opener: dict[int, Request] = {}
        self.waiting: list[list[Request]] = [[], []]
        self.serving = READ
        self.commands: list[tuple[int, str, int]] = []
        self.latencies: list[int] = []
        self.asked: list[int] = []  # banks at which a scope to be refreshed begins
        self.second: tuple[int, int] | None = None  # bank whose ACT2 is due, and by when
        self.after_cas: Request | None = None
        self.clock_stops = 0
        self.memo: dict[tuple[str, int], int] = {}

    def place(self, bank: int) -> Place:
        organization = self.spec.organization
        group = bank // organization.banks
        rank = group // organization.bank_groups
        return Place(rank // organization.ranks, rank, group, bank)

    def held(self, name: str) -> int:
        """Ticks that a command holds its bus."""
        if not self.hbm:
            return 1
        return 3 if name == "ACT" else 2 if name in COLUMN else 1

    def earliest(self, name: str, bank: int) -> int:
        """The first tick at which the history allows the command."""
        if (name, bank) in self.memo:
            return self.memo[name, bank]
        here, best, acts = self.place(bank), 0, []
        after = {"RDA": "RD", "WRA": "WR"}.get(name, name)
        for tick, before, other in self.commands:
            there = self.place(other)
            for level, befores, afters, clocks in self.rules:
                named = before in befores.split() and after in afters.split()
                if named and getattr(here, level) == getattr(there, level):
                    gap = clocks * self.ticks + self.held(before) - self.held(name)
                    best = max(best, tick + gap)
            if there.bus == here.bus and there.rank != here.rank and before in ("RD", "RDA"):
                gap = self.spec.timing.nCCDR * self.ticks
                if after == "RD" or (after == "WR" and not self.hbm):
                    best = max(best, tick + gap)
            if self.hbm and (before in COLUMN) == (name in COLUMN):
                best = max(best, tick + self.held(before))
            if before == "ACT" and there.bus == here.bus:
                acts.append(tick)
        if name == "ACT" and len(acts) >= 4:
            best = max(best, acts[-4] + self.spec.timing.nFAW * self.ticks)
        self.memo[name, bank] = best
        return best

    def may(self, name: str, bank: int, tick: int) -> bool:
        """HBM: only precharges may use the falling clock edge (an even tick)."""
        on_edge = not self.hbm or tick % 2 == 1 or name in ("PREpb", "PREab")
        return on_edge and self.earliest(name, bank) <= tick

    def issue(self, tick: int, name: str, bank: int) -> None:
        self.commands.append((tick, name, bank))
        self.memo.clear()

    def choose_kind(self) -> None:
        reads, writes = map(len, self.waiting)
        if self.serving == READ and (writes > 0.8 * 32 or not reads):
            self.serving = WRITE
        elif self.serving == WRITE and writes < 0.2 * 32 and reads:
            self.serving = READ

    def ready_queued(self, tick: int, names: tuple[str, ...]) -> tuple[str, Request] | None:
        """The oldest queued request whose next command is one of `names` and may issue."""
        queue = self.waiting[self.serving]
        hits: dict[int, int] = {}
        for request in queue:
            if self.open[request.bank] == request.row:
                hits.setdefault(request.bank, request.number)
        for request in queue:
            bank = request.bank
            if self.second and self.second[0] == bank:
                continue
            row = self.open[bank]
            name = "ACT" if row is None else "PREpb"
            if row == request.row:
                name = ("RD", "WR")[request.kind]
            if name == "PREpb" and bank in self.opener:
                continue
            older_hit = self.row_hit_first and hits.get(bank, request.number) < request.number
            if name == "PREpb" and older_hit:
                continue
            if name in names and self.may(name, bank, tick):
                return name, request
        return None

    def ready_opener(self, tick: int) -> tuple[str, Request] | None:
        for request in sorted(self.opener.values()):
            if self.second and self.second[0] == request.bank:
                continue
            name = ("RD", "WR")[request.kind]
            if self.may(name, request.bank, tick):
                return name, request
        return None

    def finish(self, tick: int, name: str, request: Request) -> None:
        """Column command."""
        self.issue(tick, name, request.bank)
        if self.opener.get(request.bank) == request:
            del self.opener[request.bank]
        else:
            self.waiting[request.kind].remove(request)
        if request.kind == READ:
            timing = self.spec.timing
            done = tick + (timing.nCL + timing.nBL) * self.ticks
            self.latencies.append(done - request.arrived)

    def row_command(self, tick: int, name: str, request: Request) -> None:
        self.issue(tick, name, request.bank)
        if name == "PREpb":
            self.open[request.bank] = None
            return
        self.open[request.bank] = request.row
        self.waiting[request.kind].remove(request)
        self.opener[request.bank] = request
        if not self.hbm:
            self.second = (request.bank, tick + self.spec.timing.nAAD)

    def maintain(self, tick: int) -> bool:
        """The next command of a waiting refresh, if it may issue."""
        first = self.asked[0]
        scopes = self.spec.organization.pseudo_channels
        banks = range(first, first + self.banks // scopes)
        if any(bank in self.opener for bank in banks):
            return False
        name = "PREab" if any(self.open[bank] is not None for bank in banks) else "REFab"
        if not self.may(name, first, tick):
            return False
        self.issue(tick, name, first)
        if name == "PREab":
            for bank in banks:
                self.open[bank] = None
        else:
            self.asked.pop(0)
        return True

    def tick(self, tick: int) -> None:
        period = self.spec.refresh.nREFI * self.ticks
        if self.refresh and tick % period == 0:
            scopes = self.spec.organization.pseudo_channels
            self.asked += [n * self.banks // scopes for n in range(scopes)]
        if self.hbm:
            self.two_buses(tick)
        else:
            self.one_bus(tick)

    def two_buses(self, tick: int) -> None:
        if tick % 2:
            found = self.ready_opener(tick)
            if not found and not self.asked:
                self.choose_kind()
                found = self.ready_queued(tick, ("RD", "WR"))
            if found:
                self.finish(tick, *found)
        if self.asked:
            self.maintain(tick)
            return
        self.choose_kind()
        found = self.ready_queued(tick, ("ACT", "PREpb"))
        if found:
            self.row_command(tick, *found)

    def second_half(self, tick: int) -> None:
        assert self.second
        self.issue(tick, "ACT2", self.second[0])
        self.second = None

    def column_lpddr(self, tick: int, name: str, request: Request) -> None:
        timing = self.spec.timing
        latency = timing.nCL if request.kind == READ else timing.nCWL
        self.clock_stops = max(self.clock_stops, tick + latency + timing.nBL + timing.nWCKPST)
        self.finish(tick, name, request)

    def one_bus(self, tick: int) -> None:
        if self.after_cas:
            request, self.after_cas = self.after_cas, None
            self.column_lpddr(tick, ("RD", "WR")[request.kind], request)
            return
        if self.second and self.second[1] <= tick:
            self.second_half(tick)
            return
        found = self.ready_opener(tick)
        if not found and self.asked and self.maintain(tick):
            return
        if not found and not self.asked:
            self.choose_kind()
            names = ("RD", "WR", "PREpb") if self.second else ("RD", "WR", "PREpb", "ACT")
            found = self.ready_queued(tick, names)
        if not found:
            if self.second:
                self.second_half(tick)
            return
        name, request = found
        if name not in ("RD", "WR"):
            self.row_command(tick, name, request)
        elif tick < self.clock_stops:
            self.column_lpddr(tick, name, request)
        elif self.second and self.second[1] <= tick + 1:
            self.second_half(tick)
        else:
            self.issue(tick, ("CAS_RD", "CAS_WR")[request.kind], request.bank)
            self.after_cas = request

    def run(self, stream: list[tuple[int, int]], intended: list[int]) -> None:
        """(line, kind) in order, one accepted a tick, until all are done."""
        sent = now = 0
        while sent < len(stream) or any(self.waiting) or self.opener:
            if sent < len(stream) and now >= intended[sent]:
                line, kind = stream[sent]
                bank, row = self.locate(line)
                merged = any(other.line == line for other in self.waiting[WRITE])
                if merged and kind == READ:
                    self.latencies.append(1)
                if merged:
                    sent += 1
                elif len(self.waiting[kind]) < (self.queue if kind == READ else 32):
                    self.waiting[kind].append(Request(sent, now, kind, bank, row, line))
                    sent += 1
            now += 1
            self.tick(now)
