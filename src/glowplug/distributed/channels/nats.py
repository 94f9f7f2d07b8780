"""NATS JetStream: a server that one runs, priced by the hour and not by the call.

A stream for each run, on disk; a subject for each worker; an ordered consumer for each end, to which the
server pushes. A target's messages of one send share an envelope. A server that restarts goes on where it was:
publishers try again until what they sent is stored, and receivers listen from the last that came.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Any

from nats.js import api
from nats.js.errors import BadRequestError

from glowplug.distributed.channels.base import Room
from glowplug.distributed.channels.nats_end import NatsChannel
from glowplug.distributed.channels.nats_link import CALL_S, URL, NatsLink, stream_name, subject_name
from glowplug.distributed.errors import ChannelMissing, RunExists

SEND_TIMEOUT_S = 30.0
_RETAINED_S = 4 * 24 * 3600
"""The server drops what is older, so that a run that nobody closes does not stay for ever."""
_NAME_IN_USE = 10058


class NatsRoom(Room):
    """Credentials come from NATS_USER and NATS_PASSWORD, NATS_TOKEN or NATS_CREDS."""

    channel = "nats"

    def __init__(self, url: str = URL, send_timeout_s: float = SEND_TIMEOUT_S) -> None:
        super().__init__()
        self._url = url
        self._send_timeout_s = send_timeout_s

    def _create(self) -> None:
        config = api.StreamConfig(
            name=stream_name(self.run),
            subjects=[subject_name(self.run, "*")],
            # Two streams of one name and one configuration would be one.
            description=secrets.token_hex(16),
            storage=api.StorageType.FILE,
            max_age=_RETAINED_S,
        )
        self.meter.admin()
        link = NatsLink(self._url)
        try:
            link.wait(_added(link, config), CALL_S, f"opening run {self.run!r}")
        except RunExists:
            raise
        except BaseException:
            with suppress(Exception):
                link.wait(_taken_back(link, config), CALL_S, f"taking back run {self.run!r}")
            raise
        finally:
            link.close()

    def _end(self, worker: int) -> NatsChannel:
        link = NatsLink(self._url)
        try:
            return NatsChannel(self.run, self.workers, worker, link, self._send_timeout_s)
        except BaseException:
            link.close()
            raise

    def _destroy(self) -> None:
        self.meter.admin()
        link = NatsLink(self._url)
        try:
            link.wait(link.stream.delete_stream(stream_name(self.run)), CALL_S, f"closing run {self.run!r}")
        except ChannelMissing:
            pass
        finally:
            link.close()

    def _options(self) -> dict[str, Any]:
        return {"url": self._url, "send_timeout_s": self._send_timeout_s}


async def _added(link: NatsLink, config: api.StreamConfig) -> None:
    try:
        await link.stream.add_stream(config)
    except BadRequestError as error:
        if error.err_code != _NAME_IN_USE:
            raise
        raise RunExists(
            f"run of stream {config.name} is open at {link.url}: end it, or use another name"
        ) from None


async def _taken_back(link: NatsLink, config: api.StreamConfig) -> None:
    """Whoever asked for it does not know whether it was made. One of that name may be another's."""
    found = await link.stream.stream_info(str(config.name))
    if found.config.description == config.description:
        await link.stream.delete_stream(str(config.name))
