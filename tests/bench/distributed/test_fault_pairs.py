"""What part `faults` keeps between its runs."""

from __future__ import annotations

from pathlib import Path

from glowplug.bench.distributed.fault_pairs import Pair, Pairs


def pair(number: int) -> Pair:
    return Pair(
        number=number, plan="rows", channel="nats", clean_s=2.0, faulty_s=3.0, restarts=1, went_back=0,
        damaged=2, sent_again=3, bytes_sent=4, rows_sent=5, equal=True, left=(),
    )  # fmt: skip


def test_who_runs_it_again_goes_on(tmp_path: Path) -> None:
    kept = Pairs(tmp_path, {"samples": 10})
    for number in (0, 2):
        kept.add(pair(number))
    again = Pairs(tmp_path, {"samples": 10})
    assert again.found == {0: pair(0), 2: pair(2)} == kept.found
    assert again.found[0].recovery == 1.5


def test_other_settings_begin_anew(tmp_path: Path) -> None:
    Pairs(tmp_path, {"samples": 10}).add(pair(0))
    assert Pairs(tmp_path, {"samples": 20}).found == {}


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    for _ in range(2):
        kept = Pairs(None, {})
        assert kept.found == {}
        kept.add(pair(0))
    assert list(tmp_path.iterdir()) == []
