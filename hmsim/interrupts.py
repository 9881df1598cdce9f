"""Signals that wait while a C library is at work."""

import signal
import threading
from types import FrameType, ModuleType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
RETRY_SECONDS = 0.005  # a library's call into Python takes microseconds


class Guard:
    """While it stands, SIGINT and SIGTERM are not handled inside the Python code of some modules.

    Python handles a signal between any two bytecodes of its main thread, so also in those that a C
    library has called. What a handler raises there (KeyboardInterrupt) goes through the library;
    HDF5 then deadlocks or crashes. A signal that comes at such a moment is sent again a moment
    later. Outside the main thread no signal is handled, and a guard does nothing.
    """

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
        elif self._is_inside(frame):
            again = threading.Timer(RETRY_SECONDS, signal.raise_signal, (number,))
            again.daemon = True
            again.start()
        else:
            self._handlers[number](number, frame)

    def _is_inside(self, frame: FrameType | None) -> bool:
        while frame is not None:
            name = frame.f_globals.get("__name__", "")
            if name in self._names or name.partition(".")[0] in self._names:
                return True
            frame = frame.f_back
        return False
