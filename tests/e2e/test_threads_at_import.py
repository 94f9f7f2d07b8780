"""A library that leaves a thread running when it is imported: deployed, called, explained by the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from glowplug.core.errors import InvalidArguments
from tests.e2e.conftest import serving

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

LEAVER = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
value = 3
"""
SOURCE = """
import glowplug
app = glowplug.App("threads")

@app.model(libraries=["leaver"])
class Needs:
    def setup(self):
        import leaver
        self.value = leaver.value

    @glowplug.endpoint
    def times(self, number: int) -> int:
        return self.value * number

@app.function(libraries=["leaver"])
def spares(number: int) -> int:
    return number + 1
"""


def test_both_functions_of_the_environment_answer_and_ps_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = folder / "library"
    library.mkdir()
    (library / "leaver.py").write_text(LEAVER)
    source = folder / "threads_app.py"
    source.write_text(SOURCE)
    paths = [str(library), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    with serving(folder) as server:
        server.deploy(source)
        server.client.descend("needs", "imported")
        for origin in ("imported", "parked"):
            answer = server.client.call("needs", {"number": 2})
            assert (answer.origin, answer.value()) == (origin, 6)
        with pytest.raises(InvalidArguments, match=r"needs\.default climbs to imported and no further: "):
            server.client.descend("needs", "staged")
        for step in ("imported", "staged", "parked"):
            (server.client.climb if step == "parked" else server.client.descend)("spares", step)
            answer = server.client.call("spares", {"number": 2})
            assert (answer.origin, answer.value()) == (step, 3)
        shown = subprocess.run(
            [sys.executable, "-m", "glowplug", "ps", "--url", server.url, "--json"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
    found = {each["name"]: each for each in json.loads(shown.stdout)}
    why = "importing leaver leaves 1 thread running, so each process of the function imports it by itself"
    assert why in found["needs"]["reason"]
    assert found["spares"]["reason"] == why
    assert (found["needs"]["highest_step"], found["spares"]["highest_step"]) == ("imported", "parked")
