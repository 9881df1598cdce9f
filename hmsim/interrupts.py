"""Ctrl-C and a polite kill: what they raise is neither lost nor raised amid a C library's work.

Python handles a signal between any two bytecodes of its main thread, also in those that a C library
has called, in a destructor or a weak reference's callback, or where a lock has just been taken. What
the handler raises there is printed and forgotten, or goes through the library; HDF5 then deadlocks
or crashes, a lock stays, an import fails. So where that is known beforehand the signal comes a moment
later; and what was raised and forgotten comes again.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any, TypeVar

Result = TypeVar("Result")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
HAS_THREADS = hasattr(signal, "pthread_kill")  # signals to and of one thread: not on Windows
RETRY_SECONDS = 0.005  # a library's call into Python takes microseconds
# LLVM's lock, and what it asks for a cached object amid its work: at any depth of calls.
LLVM = ("llvmlite.binding.ffi", "llvmlite.binding.executionengine")
# What takes and leaves locks of the compiler and of imports, in a few lines: a lock that is taken and
# then forgotten would hold up every other thread for ever.
BRIEF = (
    "contextlib", "numba.core.compiler_lock", "numba.core.event",
    "importlib._bootstrap", "importlib._bootstrap_external",
)  # fmt: skip

_came = 0  # the number of the signal that came
_to_come: threading.Timer | None = None


@contextmanager
def polite() -> Iterator[None]:
    """Inside, Ctrl-C and a polite kill raise KeyboardInterrupt, at the latest at the block's end.

    Where it is not the main thread that enters, or a signal is ignored, nothing changes.
    """
    global _came
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {each: signal.getsignal(each) for each in SIGNALS}
    for each, handler in kept.items():
        if handler is not signal.SIG_IGN:
            signal.signal(each, _interrupt)
    printed, forgotten = sys.excepthook, sys.unraisablehook
    sys.excepthook = lambda kind, *more: _is_to_come_again(kind) or printed(kind, *more)
    sys.unraisablehook = lambda what: _is_to_come_again(what.exc_type) or forgotten(what)
    try:
        yield
        if _to_come is not None:
            _to_come.join()
    except Exception as error:  # a library's, which ends what was raised in its middle with its own
        if _came:
            raise KeyboardInterrupt from error
        raise
    finally:
        _settle()
        _came = 0
        sys.excepthook, sys.unraisablehook = printed, forgotten
        for each, handler in kept.items():
            signal.signal(each, handler)


def check() -> None:
    """KeyboardInterrupt if a signal came that should have ended this work: for long loops, so that
    none goes on for a moment where a signal is yet to come again."""
    if _came:
        _settle()
        raise KeyboardInterrupt


def interruptible(work: Callable[[], Result]) -> Result:
    """What `work()` returns, a kernel's or so, while Ctrl-C is heard: the main thread would not hear
    it amid compiled code. What is interrupted ends in the background."""
    if threading.current_thread() is not threading.main_thread():
        return work()
    ended: list[Result | BaseException] = []

    def run() -> None:
        try:
            ended.append(work())
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    (end,) = ended
    if isinstance(end, BaseException):
        raise end
    return end


@contextmanager
def starting_processes(*modules: ModuleType) -> Iterator[None]:
    """Inside, these modules may start processes: a signal waits until each has what it reads first.

    They do not hear Ctrl-C, which a terminal sends to them too, until they see to it themselves.
    """
    guard = Guard(*modules)
    kept = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if HAS_THREADS else None
    try:
        yield
    finally:
        guard.end()
        if kept is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, kept)


class Guard:
    """While it stands, SIGINT and SIGTERM are not handled inside the Python code of some modules,
    but a moment later. Outside the main thread no signal is handled, and a guard does nothing."""

    def __init__(self, *modules: ModuleType) -> None:
        self._names = {module.__name__ for module in modules}
        self._handlers: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._handle)

    def end(self) -> None:
        """Give the signals back to who had them, unless somebody else has taken them since."""
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may; what is left passes every signal on
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)
        self._handlers = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number not in self._handlers:  # it came as the guard ended
            signal.raise_signal(number)
        elif _is_inside(frame, self._names):
            _again(number)
        else:
            self._handlers[number](number, frame)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _came
    _came = number
    innermost = "" if frame is None else frame.f_globals.get("__name__", "")
    if innermost in BRIEF or _is_inside(frame, LLVM):
        _again(number)
    else:
        _settle()
        raise KeyboardInterrupt


def _is_to_come_again(kind: type[BaseException]) -> bool:
    """Whether what Python, or a compiled module, would print and forget is an interrupt of ours."""
    if not (_came and issubclass(kind, KeyboardInterrupt)):
        return False
    _again(_came)
    return True


def _again(number: int) -> None:
    """Send the signal once more, a moment later, and to the main thread: what it waits for ends."""
    global _to_come
    _settle()
    _to_come = threading.Timer(RETRY_SECONDS, _send, (number,))
    _to_come.daemon = True
    _to_come.start()


def _send(number: int) -> None:
    if HAS_THREADS:
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


def _settle() -> None:
    """Nothing is to come any more."""
    global _to_come
    if _to_come is not None:
        _to_come.cancel()
        _to_come = None


def _is_inside(frame: FrameType | None, names: Iterable[str]) -> bool:
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name in names or name.partition(".")[0] in names:
            return True
        frame = frame.f_back
    return False
