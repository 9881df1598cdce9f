"""Ctrl-C and a polite kill come where they can be acted upon."""

import ctypes
import signal
import sys
import time
import weakref
from importlib import import_module
from threading import Thread

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


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_an_interrupt_that_is_lost_comes_again(number, capfd):
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interrupts.polite():
        Destroyed(number)
        time.sleep(10)
    assert time.monotonic() - began < 5
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_an_interrupt_that_is_lost_in_a_weak_references_callback_comes_again(number, capfd):
    """As where imports forget the lock of a module."""
    lock = Thread()
    with pytest.raises(KeyboardInterrupt), interrupts.polite():
        kept = weakref.ref(lock, lambda _: signal.raise_signal(number))
        del lock
        time.sleep(10)
    assert kept() is None
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_an_interrupt_that_a_compiled_module_prints_comes_again(number, capfd):
    """Cython's functions without errors of their own print what was raised in them."""
    with pytest.raises(KeyboardInterrupt), interrupts.polite():
        line = f"import signal; signal.raise_signal({int(number)})"
        printed = ctypes.pythonapi.PyRun_SimpleString(line.encode())
        time.sleep(10)
    assert printed == -1
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_an_interrupt_that_is_lost_ends_the_next_part_of_long_work(number):
    progress = Progress(10, " steps", "run")
    with pytest.raises(KeyboardInterrupt), interrupts.polite():
        Destroyed(number)
        progress(1)
        pytest.fail("the work went on")
    progress(1)
    time.sleep(2 * interrupts.RETRY_SECONDS)  # nothing comes once more, to whom it does not concern


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_an_interrupt_that_is_lost_at_the_very_end_is_not(number):
    with pytest.raises(KeyboardInterrupt), interrupts.polite():
        Destroyed(number)


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_what_a_library_makes_of_an_interrupt_is_one(number):
    """Many a compiled module says that it cannot be imported, whatever was raised meanwhile."""
    with pytest.raises(KeyboardInterrupt), interrupts.polite():
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise ImportError("the module failed to import") from None


def test_other_exceptions_that_are_lost_are_told_as_ever(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    with interrupts.polite():
        kept = weakref.ref(Thread(), lambda _: 1 / 0)
    assert kept() is None
    assert [each.exc_type for each in told] == [ZeroDivisionError]


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
    ended = []
    there = {"__name__": name, "raise_signal": signal.raise_signal, "ended": ended}
    exec("def locked(number):\n    raise_signal(number)\n    ended.append(number)", there)
    with pytest.raises(KeyboardInterrupt), interrupts.polite():
        there["locked"](signal.SIGTERM)
        time.sleep(10)
    assert ended


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
