"""Work that nobody waits for: hand it in, come back for the answers.

glowplug serve examples/jobs.py
python examples/jobs.py README.md CHANGELOG.md
glowplug calls
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import glowplug

app = glowplug.App("jobs")


@app.function(idempotent=True)
def wordcount(text: str, most: int = 3) -> dict[str, int]:
    """The words of `text` that come most often. Counting twice does no harm, so a lost call is run again."""
    return dict(Counter(text.lower().split()).most_common(most))


if __name__ == "__main__":
    calls = {name: wordcount.spawn(Path(name).read_text()) for name in sys.argv[1:]}
    for name, call in calls.items():
        print(name, call.get(timeout=60))
