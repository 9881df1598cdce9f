"""Ctrl-C and a polite kill: what they raise is neither lost nor raised amid a C library's work.

Python handles a signal between any two bytecodes of its main thread, also in those that a C library
has called, in a destructor, or where a lock has just been taken. What the handler raises there is
printed and forgotten, or goes through the library; HDF5 then deadlocks or crashes, and a lock stays.
"""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any, TypeVar

Result = TypeVar("Result")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
RETRY_SECONDS = 0.005  # a library's call into Python takes microseconds
# LLVM's lock, and what it asks for a cached object amid its work: at any depth of calls.
LLVM = ("llvmlite.binding.ffi", "llvmlite.binding.executionengine")
# What takes and leaves locks of the compiler, in a few lines: a lock that is taken and then forgotten
# would hold up every other thread for ever.
BRIEF = ("contextlib", "numba.core.compiler_lock", "numba.core.event")

_came = False


@contextmanager
def polite() -> Iterator[None]:
    """Inside, Ctrl-C and a polite kill raise KeyboardInterrupt, and `check` does so again.

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
    try:
        yield
    finally:
        _came = False
        for each, handler in kept.items():
            signal.signal(each, handler)


def check() -> None:
    """KeyboardInterrupt if a signal came that should have ended this work: for long loops, since
    what a handler raises in a destructor is lost."""
    if _came:
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
    innermost = "" if frame is None else frame.f_globals.get("__name__", "")
    if innermost in BRIEF or _is_inside(frame, LLVM):
        _again(number)
    else:
        _came = True
        raise KeyboardInterrupt


def _again(number: int) -> None:
    """Send the signal once more, a moment later."""
    again = threading.Timer(RETRY_SECONDS, signal.raise_signal, (number,))
    again.daemon = True
    again.start()


def _is_inside(frame: FrameType | None, names: Iterable[str]) -> bool:
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name in names or name.partition(".")[0] in names:
            return True
        frame = frame.f_back
    return False
