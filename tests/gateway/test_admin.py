"""The admin interface: the OpenFaaS shapes, and clear refusals."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from glowplug.core.devices import Fault
from glowplug.core.ladder import Step
from glowplug.core.status import LogLine, LogQuery
from glowplug.gateway.platform import DeployRequest, Limits

from .fakes import ECHO, House, run


def test_functions_are_listed_and_described_in_openfaas_words() -> None:
    async def scenario(house: House) -> None:
        (one,) = (await house.http.get("/system/functions")).json()
        assert {"name", "namespace", "replicas", "availableReplicas", "invocationCount"} <= set(one)
        assert (await house.http.get("/system/functions?namespace=other")).json() == []
        for path in ("/system/function/echo", "/system/functions/echo.default?namespace=x"):
            assert (await house.http.get(path)).json()["name"] == "echo"
        assert (await house.http.get("/system/function/nobody")).json()["error"]["code"] == "unknown_function"

    run(scenario)


def test_a_deploy_is_accepted_with_202() -> None:
    async def scenario(house: House) -> None:
        body = {
            "service": "echo", "image": "ab12", "envVars": {"A": "1"}, "secrets": ["s"], "labels": {"l": "x"},
            "limits": {"memory": "1GB"}, "network": "ignored",
        }  # fmt: skip
        for method, update in (("POST", False), ("PUT", True)):
            answer = await house.http.request(method, "/system/functions", json=body)
            assert (answer.status_code, answer.json()["version"]) == (202, "v1")
            _, request, was_update = house.platform.asked[-1]
            assert request == DeployRequest(
                "echo", "ab12", envVars={"A": "1"}, secrets=("s",), labels={"l": "x"}, limits=Limits("1GB")
            )
            assert was_update is update

    run(scenario)


def test_everything_else_reaches_the_platform() -> None:
    async def scenario(house: House) -> None:
        calls = [
            ("POST", "/system/scale-function/echo", {"replicas": 2}, ("scale", ECHO, 2), 202),
            ("POST", "/system/functions/echo/rollback", None, ("rollback", ECHO, None), 202),
            ("POST", "/system/functions/echo/rollback", {"version": "v0"}, ("rollback", ECHO, "v0"), 202),
            ("POST", "/system/functions/echo/climb?step=parked", None,
             ("climb", ECHO, Step.PARKED, None), 200),
            ("POST", "/system/functions/echo/descend?step=local&cache=cold", None,
             ("descend", ECHO, Step.LOCAL, "cold"), 200),
            ("DELETE", "/system/functions/echo", None, ("undeploy", ECHO), 202),
            ("DELETE", "/system/functions", {"functionName": "echo"}, ("undeploy", ECHO), 202),
            ("DELETE", "/system/functions", {"functionName": "echo.default"}, ("undeploy", ECHO), 202),
        ]  # fmt: skip
        for method, path, body, asked, status in calls:
            answer = await house.http.request(method, path, json=body)
            assert answer.status_code == status, path
            assert house.platform.asked[-1] == asked

    run(scenario)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("POST", "/system/functions", b"{", 400, None),
        ("POST", "/system/functions", b'{"service": 3, "image": "x"}', 422, "service"),
        (
            "POST",
            "/system/functions",
            b'{"service": "a", "image": "x", "labels": {"a": 1}}',
            422,
            "labels[...]",
        ),
        ("POST", "/system/functions", b'{"service": "../x", "image": "x"}', 400, None),
        ("POST", "/system/functions", b"\xff\xfe", 400, None),
        ("POST", "/system/functions", b'{"service": "caf\xe9"}', 400, None),
        ("POST", "/system/functions", b'{"x":' + b"[" * 100_000, 400, None),
        ("POST", "/system/functions", b" " * (2**20 + 1), 413, None),
        ("POST", "/system/scale-function/echo", b'{"replicas": -1}', 422, "replicas"),
        ("POST", "/system/scale-function/nobody", b'{"replicas": 1}', 404, None),
        ("POST", "/system/functions/echo/climb?step=heaven", b"", 422, "step"),
        ("POST", "/system/functions/echo/climb?step=busy", b"", 422, "step"),
        ("POST", "/system/functions/echo/climb?step=parked&cache=hot", b"", 422, "cache"),
        ("POST", "/system/functions/echo/sideways", b"", 404, None),
        ("GET", "/system/logs?name=echo&tail=-1", b"", 422, "tail"),
        ("GET", "/system/logs?name=echo&since=yesterday", b"", 422, "since"),
        ("GET", "/system/logs?name=echo&stream=stdin", b"", 422, "stream"),
        ("GET", "/system/logs?name=echo&instance=first", b"", 422, "instance"),
        ("GET", "/system/logs?name=echo&grep=" + "a" * 2000, b"", 422, "grep"),
        ("GET", "/system/logs?name=nobody", b"", 404, None),
        ("GET", "/system/traces/12345", b"", 404, None),
        ("GET", "/system/traces/" + "9" * 5000, b"", 404, None),
        ("GET", "/system/traces/first", b"", 404, None),
        ("GET", "/system/explain/" + "9" * 5000, b"", 404, None),
        ("GET", "/system/nothing", b"", 404, None),
        ("PATCH", "/system/functions", b"", 405, None),
        ("GET", "/system/function/" + "a" * 10_000, b"", 400, None),
        ("GET", "/", b"", 404, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_named(method: str, path: str, body: bytes, status: int, field: str | None) -> None:
    async def scenario(house: House) -> None:
        answer = await house.http.request(method, path, content=body)
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert error.get("field") == field
        assert error["code"]
        assert error["message"]
        assert house.platform.asked == []

    run(scenario)


def test_an_upload_is_streamed_and_bounded() -> None:
    async def scenario(house: House) -> None:
        body = bytes(50_000)
        answer = await house.http.put("/system/uploads", content=body)
        assert (answer.status_code, answer.json()) == (201, {"upload": hashlib.sha256(body).hexdigest()})

        async def chunks() -> object:
            for _ in range(12):
                yield body

        for big in (bytes(500_001), chunks()):
            answer = await house.http.put("/system/uploads", content=big)  # type: ignore[arg-type]
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")

    run(scenario, max_upload_bytes=500_000)


def test_logs_are_a_json_object_a_line() -> None:
    async def scenario(house: House) -> None:
        house.platform.lines = [LogLine(0.5, ECHO, 3, "stderr", "hé\n")]
        path = "/system/logs?name=echo&tail=5&since=1970-01-01T00:00:01Z&follow=true"
        answer = await house.http.get(path + "&grep=cat%20sat&stream=stderr&instance=3")
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert answer.json() == {
            "name": "echo", "namespace": "default", "instance": "3",
            "timestamp": "1970-01-01T00:00:00.500000Z",
            "at_s": 0.5, "stream": "stderr", "text": "hé\n",
        }  # fmt: skip
        assert house.platform.asked == [("logs", ECHO, True, 5, LogQuery(3, "stderr", 1.0, "cat sat"))]

    run(scenario)


def test_traces_and_info() -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        for _ in range(3):
            last = await house.http.post("/function/echo", content=b"x")
        traces = (await house.http.get("/system/traces?function=echo&limit=2")).json()
        assert len(traces) == 2
        number = int(last.headers["x-glowplug-request"])
        assert (await house.http.get(f"/system/traces/{number}")).json() == traces[-1]
        assert traces[-1]["origin"] == "parked"
        assert (await house.http.get("/system/info")).json()["version"] == "0"

    run(scenario)


def test_secrets_go_in_and_never_come_out() -> None:
    async def scenario(house: House) -> None:
        secret = {"name": "API_KEY", "value": "sesame"}
        assert (await house.http.post("/system/secrets", json=secret)).status_code == 201
        assert house.platform.held_secrets == {("default", "API_KEY"): "sesame"}
        found = await house.http.get("/system/secrets")
        assert found.json() == [{"name": "API_KEY", "namespace": "default"}]
        for wrong, status in (
            ({"name": "A=B", "value": "x"}, 400),
            ({"name": "A", "value": "x" * 20_000}, 422),
            ({"name": "A", "value": ""}, 422),
            ({"name": "A", "value": "x\0y"}, 422),
            ({"name": "A", "value": 3}, 422),
            ({"name": "A", "value": "x", "namespace": "../a"}, 400),
        ):
            answer = await house.http.post("/system/secrets", json=wrong)
            assert answer.status_code == status, answer.text
        for status in (202, 404):
            answer = await house.http.request("DELETE", "/system/secrets", json={"name": "API_KEY"})
            assert answer.status_code == status

    run(scenario)


def test_installed_packages_are_listed_and_pruned() -> None:
    async def scenario(house: House) -> None:
        listed = (await house.http.get("/system/environments")).json()
        assert (listed["packages"][0]["size_bytes"], listed["cache_bytes"]) == (7, 3)
        pruned = await house.http.post("/system/environments/prune")
        assert pruned.json()["removed"] == ["0a"]
        assert house.platform.asked[-1] == ("prune", True)
        await house.http.post("/system/environments/prune", json={"cache": False})
        assert house.platform.asked[-1] == ("prune", False)
        wrong = await house.http.post("/system/environments/prune", json={"cache": 3})
        assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, "cache")

    run(scenario)


def test_devices_are_listed_and_broken() -> None:
    async def scenario(house: House) -> None:
        (device,) = (await house.http.get("/system/devices")).json()
        assert (device["device"], device["used_bytes"], device["queued"]) == ("n/virtual0", 10, 2)
        assert (await house.http.get("/system/load")).json()["devices"] == [device]
        slow = {"device": "n/virtual0", "fault": {"harm": "slow", "factor": 4.0}}
        assert (await house.http.post("/system/devices", json=slow)).status_code == 202
        assert house.platform.asked == [("disturb", "n/virtual0", Fault("slow", factor=4.0))]
        for wrong, status in (
            ({"device": "n/other", "fault": {"harm": "gone"}}, 404),
            ({"device": "n/virtual0", "fault": {"harm": "sulks"}}, 422),
            ({"device": "n/virtual0", "fault": {"harm": "slow", "factor": 0}}, 422),
        ):
            assert (await house.http.post("/system/devices", json=wrong)).status_code == status

    run(scenario)


def test_what_cannot_be_explained_says_why() -> None:
    async def scenario(house: House) -> None:
        found = await house.http.get("/system/explain/5")
        assert found.json()["policy"] == "scheduling lb"
        unknown = await house.http.get("/system/explain/6")
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_request")
        house.start_worker(lend=True)
        answer = await house.http.post("/function/echo", content=b"{}")
        leased = await house.http.get(f"/system/explain/{answer.headers['x-glowplug-request']}")
        assert leased.status_code == 404
        assert "under a lease" in leased.json()["error"]["message"]

    run(scenario)


def test_readiness_follows_the_platform() -> None:
    async def scenario(house: House) -> None:
        house.platform.is_ready = False
        assert (await house.http.get("/readyz")).status_code == 503
        assert (await house.http.get("/livez")).status_code == 200

    run(scenario)


def test_a_metric_label_goes_with_its_function() -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        await house.http.post("/function/echo", content=b"x")
        assert f'glowplug_requests_total{{function="{ECHO}"' in (await house.http.get("/metrics")).text
        await house.http.delete("/system/functions/echo")
        await asyncio.sleep(0)
        assert f'glowplug_requests_total{{function="{ECHO}"' not in (await house.http.get("/metrics")).text

    run(scenario)
