"""Traces of other files: calls one by one, and requests to language models."""

from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.core.errors import InvalidTrace
from glowplug.gateway.access_log import Entry, Lines
from glowplug.gateway.flight import FunctionInfo
from glowplug.sim.workloads.registry import make_trace
from tests.sim.workloads.traces import HOUR, at

LLM = HOUR.parent / "azure_llm_2023"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_events_in_any_order_begin_at_nought(tmp_path: Path) -> None:
    path = write(
        tmp_path / "e.csv", "function,who,time_s,duration_s", "b,x,1005,2", '"a,c",x,1000,1', "b,x,1010,3"
    )
    made = make_trace(f"events:{path}")
    assert made.names == ("b", "a,c")
    assert list(made.events()) == [(0, 1), (5, 0), (10, 0)]
    assert made.columns["duration_s"].tolist() == [1, 2, 3]
    assert made.span_s == 15
    assert at(make_trace(f"events:{path},top=1,rate_per_min=60"), 0) == pytest.approx([2 / 3, 4 / 3])


def test_durations_may_be_unknown(tmp_path: Path) -> None:
    assert not make_trace(f"events:{write(tmp_path / 'e.csv', 'time_s,function', '3,a')}").columns


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ["time,function", "1,a"],
            "line 1: .* time_s,function expected, time_s not found in 'time,function'",
        ),
        (["time_s;function", "1;a"], "time_s,function not found in 'time_s;function'"),
        (["time_s,function", "1e300,a", "0,a"], "longer than 31 years: are its times in seconds"),
        (["time_s,function", "1.7e18,a", "1.7e18,b", "1.6e18,b"], "longer than 31 years"),
        (["time_s,function", "1," + "a" * 200_000], "line 2: field larger than field limit"),
        (["time_s,function", "x" * 9_999 + ",a"], "found 'x{200}'"),
        (["time_s,function", "1,a", "x,a"], "line 3, column time_s: seconds expected, found 'x'"),
        (["time_s,function", "inf,a"], "line 2, column time_s"),
        (["time_s,function", "1,a,3"], "line 2: 2 columns expected, found 3"),
        (["time_s,function,duration_s", "1,a,-1"], "line 2, column duration_s: seconds expected, found '-1'"),
        (["time_s,function"], "has no calls"),
        ([""], "line 1: columns time_s,function expected"),
    ],
)
def test_broken_events_are_named_with_their_line(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(InvalidTrace, match=said):
        make_trace(f"events:{write(tmp_path / 'e.csv', *lines)}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidTrace, match=r"cannot read .*e\.csv: No such file"):
        make_trace(f"events:{tmp_path / 'e.csv'}")


def test_files_of_a_folder_share_one_clock(tmp_path: Path) -> None:
    head = "TIMESTAMP,ContextTokens,GeneratedTokens"
    write(tmp_path / "code.csv", head, "2023-11-16 18:17:03.5000000,4808,10", "2023-11-16 18:17:05,1,2")
    write(tmp_path / "conv.csv", head, "2023-11-16 18:17:01.0000005,374,44")
    made = make_trace(f"azure_llm:{tmp_path}")
    assert made.names == ("code", "conv")
    assert at(made, 0) == pytest.approx([2.4999995, 3.9999995])
    assert made.columns["context_tokens"].tolist() == [374, 4808, 1]
    assert made.columns["generated_tokens"].tolist() == [44, 10, 2]


@pytest.mark.parametrize(
    "stamp",
    [
        "2024-05-10 00:00:00.009930+00:00", "2024-05-10 00:00:00.009930Z", "2024-05-10 00:00:00.0099300",
        "2024-05-09T22:00:00.0099300-02:00",
    ],
)  # fmt: skip
def test_times_of_requests_may_have_a_zone(tmp_path: Path, stamp: str) -> None:
    head = "TIMESTAMP,ContextTokens,GeneratedTokens"
    write(tmp_path / "a.csv", head, "2024-05-10 00:00:00,1,1")
    write(tmp_path / "b.csv", head, f"{stamp},1,1")
    assert at(make_trace(f"azure_llm:{tmp_path}"), 1) == pytest.approx([0.00993], abs=1e-6)


def test_files_of_two_zones_share_one_clock(tmp_path: Path) -> None:
    head = "TIMESTAMP,ContextTokens,GeneratedTokens"
    write(tmp_path / "a.csv", head, "2024-05-10 00:00:00+00:00,1,1", "2024-05-10 00:00:07+00:00,1,1")
    write(tmp_path / "b.csv", head, "2024-05-10 02:00:07+02:00,1,1")
    made = make_trace(f"azure_llm:{tmp_path}")
    assert (at(made, 0), at(made, 1)) == ([0, 7], [7])


def served(time: str, function: str, total_ms: float, phases: str = "{}") -> str:
    return (
        f'{{"time":"2026-11-28T{time}Z","request":1,"client":"127.0.0.1:5","method":"POST","path":"/function/x",'
        f'"function":"{function}","endpoint":"","status":200,"origin":"","total_ms":{total_ms},'
        f'"phases_ms":{phases},"received_bytes":1,"sent_bytes":1}}'
    )


def test_an_access_log_is_a_trace_of_when_its_requests_came(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        served("00:00:02.000", "slow", 2000, '{"queue":1,"compute":1500.0,"reply":1}'),
        served("00:00:03.000", "", 1),
        '{"time":"2026-11-28T00:00:03.000Z","lost_lines":7}',
        served("00:00:01.000", "quick.ns", 0, '{"first_compute":250.0}'),
        served("00:00:04.000", "slow", 0),
    )
    with path.open("a") as file:
        file.write('{"time":"2026-11-28T00:0')
    made = make_trace(f"access_log:{path}")
    assert made.names == ("slow", "quick.ns")
    assert list(made.events()) == [(0, 0), (1, 1), (4, 0)]
    assert made.columns["duration_s"].tolist() == [1.5, 0.25, 0]
    assert made.span_s == 6


def test_lines_that_were_cut_off_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = [served(f"00:00:0{n}.000", "f", 0) for n in range(3)]
    path = write(
        tmp_path / "a.jsonl", whole[0], "", whole[0][:30], "", whole[1], whole[0][:90] + whole[0],
        whole[0][:19] + whole[0], whole[2],
    )  # fmt: skip
    assert make_trace(f"access_log:{path}").times_s.tolist() == [0, 1, 2]
    assert caplog.messages == [f"{path}: lines left out, cut off while they were written: 3"]


def test_lines_that_an_access_log_writes_can_be_read(tmp_path: Path) -> None:
    lines = Lines(lambda function: FunctionInfo(("",)))
    entry = Entry(1e9, ("::1", 5), b"POST", b"/function/f", 200, 3, "staged", {"compute": 0.5}, 1, 2, 0.75)
    path = write(tmp_path / "a.jsonl", lines.line(entry).decode(), lines.lost(2).decode())
    made = make_trace(f"access_log:{path}")
    assert (made.names, made.columns["duration_s"].tolist()) == (("f.default",), [0.5])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["time_s,function", "1,a"], "line 1: no line of an access log"),
        (
            [served("00:00:02.000", "a", 1), served("25:00:00.000", "a", 1)],
            "line 2: no line of an access log",
        ),
        ([served("00:00:02.000", "a", -1)], "line 1: no line of an access log.*total_ms"),
        ([served("00:00:02.000", "", 1)], "has no calls"),
        ([], "has no calls"),
    ],
)
def test_broken_access_logs_are_named_with_their_line(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(InvalidTrace, match=said):
        make_trace(f"access_log:{write(tmp_path / 'a.jsonl', *lines)}")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("yesterday,1,2", "line 2, column TIMESTAMP: a time as 2023"),
        ("2023-11-16 18:17:03.x,1,2", "line 2, column TIMESTAMP"),
        ("2023-11-16 18:17:03.5+2,1,2", "line 2, column TIMESTAMP"),
        (
            "2023-11-16 18:17:03,1.5,2",
            "line 2, column ContextTokens: a number of tokens expected, found '1.5'",
        ),
        ("2023-11-16 18:17:03,1", "line 2: 3 columns expected, found 2"),
    ],
)
def test_broken_requests_are_named_with_their_line(tmp_path: Path, line: str, said: str) -> None:
    path = write(tmp_path / "l.csv", "TIMESTAMP,ContextTokens,GeneratedTokens", line)
    with pytest.raises(InvalidTrace, match=said):
        make_trace(f"azure_llm:{path}")


@pytest.mark.skipif(not LLM.is_dir(), reason=f"the recorded requests are not at {LLM}")
def test_the_recorded_requests_are_what_their_description_says() -> None:
    made = make_trace(f"azure_llm:{LLM}")
    assert made.counts().tolist() == [8_819, 19_366]
