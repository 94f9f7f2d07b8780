"""`glowplug explain`: why a request went where it went."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from glowplug.cli.functions import Json, Url
from glowplug.cli.numbers import Whole
from glowplug.cli.output import console, print_json
from glowplug.client import Client
from glowplug.control.journal_files import segment_paths
from glowplug.core.errors import InvalidUpload
from glowplug.core.explanation import Candidate, Decision, Eviction, Explanation, Place
from glowplug.core.ids import RequestId
from glowplug.core.units import show_bytes, show_seconds

_WORDS = {
    "send": "sent to",
    "load": "model loaded onto",
    "run": "sent to",
    "climb": "started",
    "wait": "waited;",
}


def explain(request: Whole, *, journal: Path | None = None, url: Url = None, json: Json = False) -> None:
    """Explain REQUEST: the places that were considered, what was expected of each, what was chosen and
    evicted.

    It is worked out from the journal, by deciding everything again up to then.

    For example:

        glowplug explain 12345678901
        glowplug explain 12345678901 --journal /var/lib/glowplug/journal --json

    Parameters
    ----------
    request
        The number in the answer's X-Glowplug-Request header.
    journal
        Read this journal's folder, without a server.
    """
    if journal is None:
        with Client(url) as client:
            found = client.explain(request)
    else:
        found = _from_folder(journal, request)
    if json:
        print_json(found)
    else:
        _show(found)


def _from_folder(folder: Path, request: int) -> Explanation:
    from glowplug.server.explaining import explain_from

    if not segment_paths(folder):
        raise InvalidUpload(f"no journal in {folder}: give the folder that holds the journal-*.gpj files")
    return explain_from(folder, RequestId(request))


def _show(found: Explanation) -> None:
    took = "" if found.latency_s is None else f" after {show_seconds(found.latency_s)}"
    console.print(
        f"[bold]{found.function}[/] request {found.request}: {found.outcome}{took}", highlight=False
    )
    console.print(f"  decided by {found.policy}, asked {found.looks} times", style="dim", highlight=False)
    for warning in found.warnings:
        console.print(f"  warning: {warning}", style="yellow", markup=False, highlight=False)
    for _, _, lines in sorted(_parts(found), key=lambda part: part[:2]):
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=isinstance(line, str))


def _parts(found: Explanation) -> list[tuple[float, int, tuple[str | Table, ...]]]:
    """(when, which of those at that time, lines): what was decided comes before what came of it."""
    parts: list[tuple[float, int, tuple[str | Table, ...]]] = [
        (each.at_s, 0, (_decided(each), *((_place_table(each),) if each.places else ())))
        for each in found.decisions
    ]
    parts += [
        (each.at_s, 1, (f"{_at(each.at_s)} evicted from {each.place}:", _eviction_table(each)))
        for each in found.evictions
    ]
    parts += [(each.at_s, 2, (f"{_at(each.at_s)} {each.what}",)) for each in found.happenings]
    return parts


def _decided(decision: Decision) -> str:
    where = decision.place or "there was no place"
    if decision.what == "wait":
        where = f"best would have been {where}" if decision.place else where
    batch = f", in a batch of {decision.requests}" if decision.requests > 1 else ""
    return f"{_at(decision.at_s)} {_WORDS[decision.what]} {where}{batch} (at {decision.prompted_by})"


def _place_table(decision: Decision) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("   PLACE")
    for name in ("STATE", "FREE IN", "MODEL IN", "RUN", "FINISH", "WOULD EVICT"):
        table.add_column(name, justify="left" if name in ("STATE", "WOULD EVICT") else "right")
    for place in decision.places:
        mark = " > " if place.place == decision.place else "   "
        table.add_row(mark + place.place, place.state, *_times(place), ", ".join(place.evicts))
    return table


def _times(place: Place) -> tuple[str, ...]:
    given = (place.free_s, place.ready_s, place.run_s, place.finish_s)
    return tuple("never" if seconds is None else show_seconds(seconds) for seconds in given)


def _eviction_table(eviction: Eviction) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("   MODEL")
    for name in ("ASKED FOR", "SAVES", "HOLDS", "COPIES", "SCORE"):
        table.add_column(name, justify="right")
    for mark, group in ((" x ", eviction.evicted), ("   ", eviction.spared)):
        for each in group:
            table.add_row(mark + each.function, *_worth(each))
    return table


def _worth(each: Candidate) -> tuple[str, ...]:
    return (
        f"{each.rate_per_s:.3g}/s", show_seconds(each.saved_s), show_bytes(each.held_bytes), str(each.copies),
        f"{each.score:.4g}",
    )  # fmt: skip


def _at(seconds: float) -> str:
    return f"+{seconds:.3f} s"
