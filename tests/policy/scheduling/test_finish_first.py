from __future__ import annotations

import pytest

from tests.policy.scheduling.ground import Ground, Model, runs


def ground(**options: object) -> Ground:
    return Ground("finish-first", eviction="value-per-byte", **options)  # type: ignore[arg-type]


def test_a_request_runs_where_its_model_lies() -> None:
    g = ground(devices=2, models={"a": Model(), "b": Model()})
    done = g.play((0.0, "a"), (0.0, "b"), (10.0, "a"), (20.0, "b"))
    assert [what for _, what, _, _ in done].count("load") == 2
    place = {(what, model): device for _, what, model, device in done}
    assert place["run", "a"] == place["load", "a"]
    assert place["run", "b"] == place["load", "b"]


def test_it_waits_for_its_device_where_that_is_sooner_than_a_load() -> None:
    g = ground(devices=2, models={"a": Model(load_s=3.0, run_s=1.0), "b": Model()})
    done = g.play((0.0, "a"), (0.0, "b"), (10.0, "a"), (10.2, "a"), (10.4, "a"))
    assert [what for _, what, _, _ in done].count("load") == 2
    assert [at_s for at_s, what, name, _ in done if (what, name) == ("run", "a")] == [3.0, 10.0, 11.0, 12.0]


def test_a_hot_model_is_copied_when_its_queue_is_longer_than_a_load() -> None:
    g = ground(devices=2, models={"a": Model(load_s=3.0, run_s=1.0)})
    done = g.play((0.0, "a"), *((10.0, "a"),) * 10)
    assert [what for _, what, _, _ in done].count("load") == 2
    runs = [(at_s, device) for at_s, what, _, device in done if what == "run"]
    assert {device for _, device in runs} == {"d0", "d1"}
    assert max(at_s for at_s, _ in runs) < 17.0, "ten in a row would begin the last at 19"


def test_free_memory_is_filled_with_what_is_asked_for_most() -> None:
    """Once both are there, the second device has room for one more."""
    g = ground(capacities=(1000, 2000), models={"a": Model(), "b": Model()})
    done = g.play((0.0, "a"), (0.0, "b"), *((10.0 + n, "ab"[n % 4 == 3]) for n in range(20)))
    assert [model for _, what, model, _ in done if what == "load"] == ["a", "b", "a"]
    assert g.tally.evictions == 0


def test_nothing_is_loaded_ahead_where_something_would_have_to_go() -> None:
    g = ground(devices=2, models={"a": Model(), "b": Model(size_bytes=600), "c": Model(size_bytes=600)})
    done = g.play((0.0, "a"), (0.0, "b"), *((10.0 + n, "a") for n in range(20)))
    assert [model for _, what, model, _ in done if what == "load"] == ["a", "b"]


def test_what_is_seldom_asked_for_gets_no_further_copy() -> None:
    """`c`, which is large, goes for `b`: beside that is room for `a`, which came once in ten minutes."""
    models = {"a": Model(), "b": Model(), "c": Model(size_bytes=2000)}
    g = ground(capacities=(2000, 1000), models=models)
    done = g.play((0.0, "c"), (0.1, "a"), (600.0, "b"))
    assert [model for _, what, model, _ in done if what == "load"] == ["c", "a", "b"]


def test_a_load_runs_beside_what_its_device_computes() -> None:
    g = ground(devices=1, room=2, models={"a": Model(load_s=3.0, run_s=5.0), "b": Model(load_s=3.0)})
    done = g.play((0.0, "a"), (4.0, "b"))
    assert [(at_s, what, model) for at_s, what, model, _ in done] == [
        (0.0, "load", "a"), (3.0, "run", "a"), (4.0, "load", "b"), (8.0, "run", "b"),
    ]  # fmt: skip


def test_what_could_run_elsewhere_leaves_a_device_to_what_cannot() -> None:
    """`a` lies on both devices, `b` on the second alone."""
    g = ground(
        devices=2, room=2, models={"a": Model(load_s=1.0, run_s=1.0), "b": Model(load_s=9.0, run_s=1.0)}
    )
    warm = [(0.0, "a")] + [(5.0, "a")] * 6 + [(20.0, "b")]
    done = g.play(*warm, (60.0, "a"), (60.0, "b"))
    last = {model: (at_s, device) for at_s, what, model, device in done if what == "run"}
    assert last["a"][0] == last["b"][0] == 60.0
    assert last["a"][1] != last["b"][1]


def test_nothing_is_evicted_for_a_copy_that_spares_less_than_it_costs() -> None:
    """One device for each of two models: a short queue of the one is no reason to load the other again."""
    g = ground(devices=2, models={"a": Model(load_s=3.0, run_s=1.0), "b": Model(load_s=3.0, run_s=1.0)})
    busy = [(10.0 + n, name) for n in range(20) for name in ("a", "b")]
    done = g.play((0.0, "a"), (0.0, "b"), *busy, (30.5, "a"), (30.5, "a"), (30.5, "a"))
    assert [what for _, what, _, _ in done].count("load") == 2


@pytest.mark.parametrize("load_s", [0.0, 0.3])
def test_two_that_wait_for_a_busy_device_do_not_evict_each_other(load_s: float) -> None:
    """There is room for one of `a` and `b` beside what runs for ten seconds."""
    wanted = Model(load_s=load_s, size_bytes=1000)
    g = ground(capacities=(2000,), models={"c": Model(run_s=10.0, size_bytes=300), "a": wanted, "b": wanted})
    done = g.play((0.0, "c"), (4.0, "b"), (4.1, "a"))
    assert [model for _, what, model, _ in done if what == "load"] == ["c", "b", "a"]
    assert runs(done) == "cba"


def test_what_is_waited_for_is_not_evicted_for_who_came_before_it() -> None:
    """Room for two. When `c` comes `a` is waited for and `b` runs; when `b` could go it is waited for too."""
    quick, slow = Model(load_s=1.0, run_s=1.0), Model(load_s=1.0, run_s=10.0)
    g = ground(capacities=(2000,), models={"a": slow, "b": quick, "c": quick})
    done = g.play((0.0, "a"), (0.1, "b"), (200.0, "b"), (200.2, "a"), (200.5, "c"), (200.7, "b"))
    assert [model for _, what, model, _ in done if what == "load"] == ["a", "b", "c"]
    assert runs(done) == "abbabc"


def test_first_come_is_first_served_below_overload() -> None:
    """`a` was served ten times lately and `b` was not: what comes first runs first all the same."""
    g = ground(room=2, models={"a": Model(run_s=1.0), "b": Model(run_s=1.0)})
    warm = [(0.0, "b"), *((10.0 + 2 * n, "a") for n in range(10))]
    done = g.play(*warm, *((40.0 + n / 10, name) for n, name in enumerate("aaabb")))
    assert runs(done)[-5:] == "aaabb"


def test_functions_take_turns_where_more_waits_than_can_be_done_soon() -> None:
    """A hundred of `a` on one device, and `b` comes last: it waits for a run or two."""
    g = ground(room=2, models={"a": Model(run_s=1.0), "b": Model(run_s=1.0)})
    g.play((0.0, "a"), (0.0, "b"), *[(600.0, "a")] * 100, (605.0, "b"))
    assert g.latencies("b")[-1] <= 3.0


def test_no_further_copy_where_everybody_waits_as_long() -> None:
    """Two models on a device each, and six of both wait there: a copy brings no device."""
    g = ground(devices=2, models={"a": Model(load_s=3.0, run_s=1.0), "b": Model(load_s=3.0, run_s=1.0)})
    done = g.play((0.0, "a"), (0.0, "b"), *((100.0, name) for name in "abababababab"))
    assert [what for _, what, _, _ in done].count("load") == 2
