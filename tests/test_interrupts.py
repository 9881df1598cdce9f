"""Ctrl-C and a polite kill come where they can be acted upon."""

import signal
import time
from importlib import import_module
from threading import Thread
from types import SimpleNamespace

import llvmlite.binding as llvm
import pytest

from hmsim import interrupts
from hmsim.progress import Progress


class Destroyed:
    """Signals its process in its destructor, whose exceptions Python prints and forgets."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_an_interrupt_that_is_lost_comes_again(number):
    progress = Progress(10, " steps", "run")
    with interrupts.polite():
        Destroyed(number)
        with pytest.raises(KeyboardInterrupt):
            progress(1)
    progress(1)


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_an_interrupt_amid_the_compiler_waits_for_its_end(number, capfd):
    """LLVM calls Python back for an object that may lie in a cache; what is raised there is lost."""
    pending, ended = [number], []

    def notify(module, data):
        if pending:
            signal.raise_signal(pending.pop())

    engine = _an_engine()
    engine.set_object_cache(notify, lambda module: None)
    with pytest.raises(KeyboardInterrupt), interrupts.polite():
        engine.finalize_object()
        ended.append(True)
        time.sleep(10)
    assert ended
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_no_lock_of_llvm_stays_taken(number):
    """What is raised once the lock is taken, and before the call, would leave it to nobody."""
    pending = [number]

    def taken():
        if pending:
            signal.raise_signal(pending.pop())

    def left():
        pass

    llvm.ffi.register_lock_callback(taken, left)
    try:
        with pytest.raises(KeyboardInterrupt), interrupts.polite():
            llvm.get_default_triple()
            time.sleep(10)
    finally:
        llvm.ffi.unregister_lock_callback(taken, left)
    other = Thread(target=llvm.get_default_triple, daemon=True)
    other.start()
    other.join(timeout=10)
    assert not other.is_alive()


@pytest.mark.parametrize("name", interrupts.BRIEF)
def test_no_signal_is_raised_where_a_lock_is_taken(name):
    assert import_module(name)
    came = []
    kept = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        interrupts._interrupt(
            signal.SIGINT, SimpleNamespace(f_globals={"__name__": name}, f_back=None)
        )
        deadline = time.monotonic() + 10
        while not came and time.monotonic() < deadline:
            time.sleep(0.001)
    finally:
        signal.signal(signal.SIGINT, kept)
    assert came == [signal.SIGINT]


def _an_engine():
    from llvmlite import ir

    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.IntType(64), []), "one")
    ir.IRBuilder(function.append_basic_block()).ret(ir.IntType(64)(1))
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    machine = llvm.Target.from_default_triple().create_target_machine()
    return llvm.create_mcjit_compiler(parsed, machine)


def test_who_had_the_signals_has_them_back():
    before = [signal.getsignal(each) for each in interrupts.SIGNALS]
    with interrupts.polite():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(each) for each in interrupts.SIGNALS] == before


def test_a_signal_that_is_ignored_stays_ignored():
    kept = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.polite():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, kept)
