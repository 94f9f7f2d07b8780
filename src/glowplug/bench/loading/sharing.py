"""Several processes with the same model: how many copies of its weights does the machine hold?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_CHILD = """
import sys
sys.path.append(sys.argv[2])
import torch
from glowplug import loader
from architectures.zoo import ZOO
loading = loader.start_load(sys.argv[1], strategy="mapped", verify=False)
with torch.inference_mode():
    loading.model(*ZOO[sys.argv[3]].example())
loading.wait()
print("ready", flush=True)
sys.stdin.read()
"""


def proportional_share(pack: Path, name: str, examples: Path, processes: int) -> tuple[int, int]:
    """(bytes of the pack that all of the processes hold together, pages counted once among their users;
    the bytes that are private copies), with the model loaded and run in each."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(pack), str(examples), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(processes)
    ]  # fmt: skip
    try:
        for process in running:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"a process that loads {name} ended with status {process.wait()}")
        found = [_mapped(process.pid, pack) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.stdout.close()
    return sum(pss for pss, _ in found), sum(private for _, private in found)


def _mapped(pid: int, pack: Path) -> tuple[int, int]:
    """(PSS, anonymous bytes) of one process's mappings of the pack (smaps)."""
    pss = anonymous = 0
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, rest = line.partition(":")
        if " " in name:
            inside = line.endswith(str(pack))
        elif inside and name == "Pss":
            pss += int(rest.split()[0]) * 1024
        elif inside and name == "Anonymous":
            anonymous += int(rest.split()[0]) * 1024
    return pss, anonymous
