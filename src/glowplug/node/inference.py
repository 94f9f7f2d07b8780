"""What a function runs is never differentiated: a thread enters torch's inference mode and stays in it."""

from __future__ import annotations

import sys
import threading
from typing import Any

_entered = threading.local()


def stay_in_inference_mode() -> None:
    """For the life of this thread, as soon as torch is loaded: to enter it for each call takes 2.5 us."""
    torch = sys.modules.get("torch")
    if torch is not None and not hasattr(_entered, "mode"):
        mode: Any = torch.inference_mode()
        mode.__enter__()
        _entered.mode = mode
