"""Ctrl-C and a polite kill come where they can be acted upon."""

import signal
import time

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
