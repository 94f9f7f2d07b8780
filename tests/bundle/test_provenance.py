"""What a version was built with, and what has changed since."""

from __future__ import annotations

import subprocess
import sys

from glowplug.bundle.provenance import changes, installed


def test_what_changed_is_told_with_both_versions() -> None:
    then = {"python": "3.11.1", "torch": "2.12.0", "glowplug": "0.1.0"}
    now = {"python": "3.11.2", "torch": "2.13.0", "glowplug": "0.1.0"}
    assert changes(then, now) == "python 3.11.1, now 3.11.2, torch 2.12.0, now 2.13.0"
    assert changes(then, then) == ""


def test_of_what_is_not_in_both_nothing_is_said() -> None:
    assert changes({}, installed()) == ""
    assert changes({"torch": "2.12.0"}, {"python": "3.11.2"}) == ""


def test_only_what_is_loaded_counts_and_nothing_is_loaded_for_it() -> None:
    code = "import sys; from glowplug.bundle.provenance import installed, loaded; "
    code += "print('torch' in installed(), 'torch' in loaded(), 'torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "False", "False"]
