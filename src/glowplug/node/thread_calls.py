"""Calls in threads that can be interrupted between two steps of Python code, as elsewhere by a signal."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from glowplug.core.errors import RequestCancelled
from glowplug.node.inference import stay_in_inference_mode
from glowplug.node.interrupts import Interrupted

_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)
_clear_in = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)
P = ParamSpec("P")
T = TypeVar("T")


class ThreadCall:
    """A user's calls, one after another. `run` them in a thread; `interrupt` from another, at any time.

    An interrupted call raises RequestCancelled as soon as its thread runs Python code again, which a call
    into a library may keep it from, and so does any `run` after that. Nothing of an interruption is left in
    the thread after its `run`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._interrupted = False

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns. Raises what it raises, or RequestCancelled."""
        try:
            with self._lock:
                if self._interrupted:
                    raise Interrupted
                self._thread = threading.get_ident()
            stay_in_inference_mode()
            return function(*args, **kwargs)
        except StopIteration as error:  # which no future takes
            raise RuntimeError("the function raised StopIteration") from error
        finally:
            self._leave()

    def _leave(self) -> None:
        while self._thread is not None:
            try:
                with self._lock:
                    if self._interrupted:
                        _clear_in(threading.get_ident(), None)
                    self._thread = None
            except RequestCancelled:
                continue  # it was on its way already

    def interrupt(self) -> None:
        with self._lock:
            self._interrupted = True
            if self._thread is not None:
                _raise_in(self._thread, Interrupted)
