"""Queues and topics of runs that nobody closed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from glowplug.distributed.channels.aws import AwsService
from glowplug.distributed.leftovers import Leftover

_QUEUE = re.compile(r".*/glowplug-(?P<run>[A-Za-z0-9][A-Za-z0-9_-]*)-(?P<part>claim|\d+)")
_TOPIC = re.compile(r".*:glowplug-(?P<run>[A-Za-z0-9][A-Za-z0-9_-]*)-t\d+")


def in_queues(service: AwsService) -> list[Leftover]:
    """Raises ChannelError. Topics tell no age: those without a claim of their run, which is the first to come
    and the last to go, are nobody's. SQS may list a new queue late, so it is asked for by its name."""
    topics = [(match["run"], arn) for arn in service.topics() if (match := _TOPIC.fullmatch(arn))]
    queues = [(match["run"], url) for url in service.queues() if (match := _QUEUE.fullmatch(url))]
    now_s = time.time()
    found = []
    for run in sorted({run for run, _ in (*topics, *queues)}):
        urls, arns = ([each for of, each in listed if of == run] for listed in (queues, topics))
        if not urls and (claim := service.claim(run)) is not None:
            urls.append(claim)
        made_s = [made for url in urls if (made := service.made_s(url)) is not None]
        age_s = now_s - max(made_s) if made_s else None
        found.append(
            Leftover("queues and topics", run, len(urls) + len(arns), age_s, _removal(service, urls, arns))
        )
    return found


def _removal(service: AwsService, urls: list[str], arns: list[str]) -> Callable[[], None]:
    """The claim last."""
    ordered = sorted(urls, key=lambda url: url.endswith("-claim"))
    return lambda: service.remove_these(arns, ordered)
