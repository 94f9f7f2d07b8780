"""Processor time, as the kernel counts it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

from glowplug.node import procfs

BUSY_S = 0.05


def burn() -> None:
    while time.thread_time() < BUSY_S:
        pass


def test_the_time_of_all_its_threads_counts() -> None:
    thread = threading.Thread(target=burn)
    before_s = procfs.cpu_s(os.getpid())
    thread.start()
    thread.join()
    own_s, after_s = time.process_time(), procfs.cpu_s(os.getpid())
    assert before_s is not None
    assert after_s is not None
    assert before_s + BUSY_S <= own_s <= after_s


def test_another_process_is_counted_until_it_is_gone() -> None:
    code = "import time; print(time.process_time(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        told_s = float(other.stdout.readline())
        found_s = procfs.cpu_s(other.pid)
        assert found_s is not None
        assert found_s >= told_s
        other.communicate("\n")
    assert procfs.cpu_s(other.pid) is None


def test_a_process_without_a_number_yet_is_not_the_caller() -> None:
    assert procfs.cpu_s(0) is None
