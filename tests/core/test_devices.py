"""What `--devices` may say, and what is wrong with the rest."""

from __future__ import annotations

import pytest

from glowplug.core.devices import DeviceSetting, Host, parse_devices
from glowplug.core.errors import InvalidArguments

HOST = Host(cores=(0, 1, 4, 5), cards={0: 80, 2: 70}, budget_bytes=8000)


def test_virtual_devices_have_size_and_rate() -> None:
    found = parse_devices(["virtual:3x2GB@1.5GB/s"], HOST)
    assert found == tuple(
        DeviceSetting(f"virtual{number}", "virtual", number, 2 * 10**9, 1.5e9) for number in range(3)
    )


def test_a_virtual_device_may_take_its_time() -> None:
    text = "virtual:1x2GB@2GB/s,latency=1ms,run=20ms,context=300MB/0.5s,shared=yes"
    (found,) = parse_devices([text], HOST)
    assert (found.latency_s, found.run_s) == (0.001, 0.02)
    assert (found.context_bytes, found.context_s, found.shared) == (300 * 10**6, 0.5, True)


def test_several_models_may_compute_on_one_device() -> None:
    for text in ("virtual:1x2GB@2GB/s", "cuda:0"):
        assert [parse_devices([text + more], HOST)[0].at_once for more in ("", ",at_once=3")] == [1, 3]


def test_different_ones_stand_beside_each_other() -> None:
    found = parse_devices(["virtual:1x2GB@1GB/s", "virtual:2x1GB@1GB/s", "cpu:2"], HOST)
    assert [each.name for each in found] == ["virtual0", "virtual1", "virtual2", "cpu0", "cpu1"]


def test_cores_and_budget_are_divided_over_cpu_devices() -> None:
    found = parse_devices(["cpu:2"], HOST)
    assert [(each.cores, each.capacity_bytes) for each in found] == [((0, 1), 4000), ((4, 5), 4000)]
    assert [each.capacity_bytes for each in parse_devices(["cpu:4x1kB"], HOST)] == [1000] * 4


def test_cards_are_found_or_named() -> None:
    found = parse_devices(["auto"], HOST)
    assert [(each.name, each.capacity_bytes) for each in found] == [("cuda0", 80), ("cuda2", 70)]
    assert [each.number for each in parse_devices(["cuda"], HOST)] == [0, 2]
    (card,) = parse_devices(["cuda:2,memory=4GB,context=1GB"], HOST)
    assert (card.number, card.capacity_bytes, card.context_bytes) == (2, 4 * 10**9, 10**9)
    assert parse_devices(["auto"], Host((0,), {}, 1)) == parse_devices(["none"], HOST) == ()


def test_no_context_waits_where_that_is_not_wanted_or_leaves_no_room() -> None:
    def ready(text: str) -> bool:
        (found,) = parse_devices([text], HOST)
        return found.ready

    assert ready("cuda:0,memory=4GB")
    assert not ready("cuda:0,memory=4GB,ready=no")
    assert not ready("cuda:0,memory=1.5GB,context=800MB")
    assert ready("virtual:1x2GB@2GB/s,context=300MB/0.5s")
    assert not ready("virtual:1x2GB@2GB/s,context=300MB/0.5s,ready=no")


def test_a_card_that_does_not_say_what_is_free_is_told() -> None:
    silent = Host((0,), {0: 0}, 1)
    assert parse_devices(["auto"], silent) == ()
    assert parse_devices(["cuda:0,memory=1GB"], silent)[0].capacity_bytes == 10**9
    with pytest.raises(InvalidArguments, match="say it, as in cuda:0,memory=40GB"):
        parse_devices(["cuda:0"], silent)


@pytest.mark.parametrize(
    ("texts", "word"),
    [
        (["gpu:1"], "names no kind of device; write virtual:COUNTxSIZE"),
        (["virtual:2"], "no virtual device"),
        (["virtual:2x@1GB/s"], "no virtual device"),
        (["virtual:2xlarge@1GB/s"], "is not a size"),
        (["virtual:2x1GB@fast/s"], "is not a size"),
        (["virtual:2x1GB@0/s"], "more than 0"),
        (["virtual:0x1GB@1GB/s"], "from 1 to 1024"),
        (["virtual:99999999999x1GB@1GB/s"], "from 1 to 1024"),
        (
            ["virtual:1x1GB@1GB/s,speed=3"],
            "no option 'speed'; options are latency, run, context, shared, ready",
        ),
        (["virtual:1x1GB@1GB/s,at_once=0"], "at_once is from 1 to 64"),
        (["cuda:0,at_once=many"], "at_once is from 1 to 64"),
        (["cpu:2,at_once=2"], "no option 'at_once'"),
        (["virtual:1x1GB@1GB/s,run"], "'run' is no option"),
        (["virtual:1x1GB@1GB/s,run=soon"], "is not a duration"),
        (["virtual:1x1GB@1GB/s,shared=perhaps"], "shared is yes or no"),
        (["cuda:0,memory=1GB,ready=1"], "ready is yes or no"),
        (["cpu:5"], "there are 4 cores"),
        (["cpu:two"], "no cpu device"),
        (["cpu:1", "cpu:1"], "name all cpu devices at once"),
        (["cpu:1,run=3ms"], "options are none"),
        (["cuda:1"], "graphics cards found: cuda:0, cuda:2"),
        (["cuda:x"], "no graphics card"),
        (["cuda", "cuda:0"], "cuda0 is named twice"),
    ],
)
def test_what_makes_no_sense_is_named(texts: list[str], word: str) -> None:
    with pytest.raises(InvalidArguments) as refused:
        parse_devices(texts, HOST)
    assert word in refused.value.message
    assert refused.value.message.startswith("--devices: ")
    assert refused.value.field == "devices"


def test_a_machine_without_cards_says_so() -> None:
    with pytest.raises(InvalidArguments, match="graphics cards found: none"):
        parse_devices(["cuda"], Host((0,), {}, 1))
