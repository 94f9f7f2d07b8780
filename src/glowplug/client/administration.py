"""The part of the client that deploys, and looks at what runs and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from glowplug.client.connection import Connection, ForeignAnswer, check_done
from glowplug.core.devices import Fault
from glowplug.core.errors import UNREADABLE
from glowplug.core.explanation import Explanation
from glowplug.core.ids import DEFAULT_NAMESPACE, DeviceId, parse_function_id
from glowplug.core.status import DeviceStatus, FunctionStatus, Load, LogLine, PackagesList, RequestTrace

_CHUNK_BYTES = 2**20
_MOST_LINE_BYTES = 2**20


class _Uploaded(msgspec.Struct):
    upload: str


class _Named(msgspec.Struct):
    name: str


class Administration(Connection):
    """What a server's owner asks of it."""

    def upload(self, source: Path | BinaryIO) -> str:
        """Streams a tar to the server; returns the upload's id, the sha256 of its bytes."""
        if isinstance(source, Path):
            with source.open("rb") as stream:
                return self.upload(stream)
        chunks = iter(lambda: source.read(_CHUNK_BYTES), b"")
        return self._json("PUT", "/system/uploads", _Uploaded, content=chunks).upload

    def deploy(self, name: str, upload: str, *, update: bool = False, **options: Any) -> dict[str, Any]:
        """Deploys a declaration of an upload. `options` are fields of the OpenFaaS request: `namespace`,
        `envVars`, `secrets`, `labels`, `annotations`, `limits`. Returns once it is accepted, not built."""
        body = {"service": name, "image": upload, **options}
        return self._json("PUT" if update else "POST", "/system/functions", dict[str, Any], json=body)

    def functions(self) -> list[FunctionStatus]:
        """Every function that is deployed, in all namespaces."""
        return self._json("GET", "/system/functions", list[FunctionStatus])

    def describe(self, function: str) -> FunctionStatus:
        """One of them. Raises UnknownFunction."""
        return self._json("GET", f"/system/function/{parse_function_id(function)}", FunctionStatus)

    def scale(self, function: str, replicas: int) -> None:
        """So many workers stay parked from now on. Returns once that is accepted. Raises UnknownFunction."""
        path = f"/system/scale-function/{parse_function_id(function)}"
        self._send("POST", path, json={"replicas": replicas})

    def rollback(self, function: str, version: str | None = None) -> None:
        """Makes an earlier version the active one: the one before, unless `version` names another."""
        body = {} if version is None else {"version": version}
        self._send("POST", f"/system/functions/{parse_function_id(function)}/rollback", json=body)

    def undeploy(self, function: str) -> None:
        """Removes it with all its versions. Raises UnknownFunction."""
        self._send("DELETE", f"/system/functions/{parse_function_id(function)}")

    def packages(self) -> PackagesList:
        """What is installed for environments that require packages of their own."""
        return self._json("GET", "/system/environments", PackagesList)

    def prune_packages(self, *, cache: bool = True) -> PackagesList:
        """Removes what no deployed version needs; with `cache` also what installers downloaded."""
        return self._json("POST", "/system/environments/prune", PackagesList, json={"cache": cache})

    def set_secret(self, name: str, value: str, namespace: str = DEFAULT_NAMESPACE) -> None:
        """Stores a secret; functions that declare it and start from now on find it among their variables."""
        self._send("POST", "/system/secrets", json={"name": name, "namespace": namespace, "value": value})

    def remove_secret(self, name: str, namespace: str = DEFAULT_NAMESPACE) -> None:
        """Raises UnknownSecret."""
        self._send("DELETE", "/system/secrets", json={"name": name, "namespace": namespace})

    def secrets(self, namespace: str = DEFAULT_NAMESPACE) -> list[str]:
        """Their names; values are never given back."""
        query = {"namespace": namespace}
        return [each.name for each in self._json("GET", "/system/secrets", list[_Named], params=query)]

    def climb(self, function: str, step: str, cache: str | None = None) -> None:
        """Returns when `function` stands at exactly `step`; `cache` is `warm`, `cold` or None."""
        self._move("climb", function, step, cache)

    def descend(self, function: str, step: str, cache: str | None = None) -> None:
        """As `climb`, downwards."""
        self._move("descend", function, step, cache)

    def _move(self, direction: str, function: str, step: str, cache: str | None) -> None:
        params = {"step": step} if cache is None else {"step": step, "cache": cache}
        self._send("POST", f"/system/functions/{parse_function_id(function)}/{direction}", params=params)

    def logs(
        self,
        function: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: str | float | None = None,
        grep: str | None = None,
        stream: str | None = None,
        instance: int | None = None,
    ) -> Iterator[LogLine]:
        """Lines in order; with `follow` it ends only when the server does. `since` is in epoch seconds, or
        text: `10m` ago, or RFC 3339. `grep` is a text that lines must have in them."""
        wishes = {"tail": tail, "since": since, "grep": grep, "stream": stream, "instance": instance}
        params: dict[str, Any] = {"name": parse_function_id(function), "follow": int(follow)}
        params |= {name: value for name, value in wishes.items() if value is not None}
        with self._errors(), self._http().stream("GET", "/system/logs", params=params) as response:
            check_done(response)
            for line in _lines(response.iter_bytes()):
                try:
                    found = _log_line(line)
                except (KeyError, *UNREADABLE):
                    raise ForeignAnswer(response.url, f"it sent {line[:100]!r}") from None
                yield found

    def traces(self, function: str | None = None, limit: int = 20) -> list[RequestTrace]:
        """The newest last."""
        params: dict[str, Any] = {"limit": limit}
        if function is not None:
            params["function"] = parse_function_id(function)
        return self._json("GET", "/system/traces", list[RequestTrace], params=params)

    def trace(self, request: int) -> RequestTrace:
        """Raises UnknownRequest when it is kept no more."""
        return self._json("GET", f"/system/traces/{request}", RequestTrace)

    def load(self) -> Load:
        """What every function has to do at this moment, and what was answered for it so far."""
        return self._json("GET", "/system/load", Load)

    def devices(self) -> list[DeviceStatus]:
        """What lies on each of the server's devices, and waits there."""
        return self._json("GET", "/system/devices", list[DeviceStatus])

    def disturb(self, device: DeviceId, fault: Fault) -> None:
        """Breaks a device or makes it whole again. Returns when that has happened."""
        self._send("POST", "/system/devices", json=msgspec.to_builtins({"device": device, "fault": fault}))

    def explain(self, request: int) -> Explanation:
        """Why a request went where it went."""
        return self._json("GET", f"/system/explain/{request}", Explanation)

    def info(self) -> dict[str, Any]:
        """The version, nodes and isolation of the server, and what was loaded ahead there."""
        return self._json("GET", "/system/info", dict[str, Any])


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Those that are not empty. A text in JSON may hold what ends lines elsewhere, as U+2028 does."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from filter(None, whole)
        if len(rest) > _MOST_LINE_BYTES:
            break
    if rest:
        yield rest


def _log_line(line: bytes) -> LogLine:
    found = msgspec.json.decode(line)
    function = f"{found['name']}.{found['namespace']}"
    return LogLine(found["at_s"], function, int(found["instance"]), found["stream"], found["text"])
