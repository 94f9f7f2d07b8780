"""Which modules this interpreter can import: `python -m loading.check MODULE ...`.

Prints one JSON line, `{module: null or the reason}`. They are really imported, for a package that is
installed may still want a library of a GPU's.
"""

from __future__ import annotations

import importlib
import json
import sys


def reason(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except Exception as error:
        # Native libraries fail in ways of their own, and any of them means that the peer cannot run.
        return f"importing {module}: {type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    found = {module: reason(module) for module in sys.argv[1:]}
    print(json.dumps(found))
