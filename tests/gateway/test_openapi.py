"""The description of a server says what is there, and nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette

from glowplug.core.errors import BY_CODE
from glowplug.core.priority import parse_priority
from glowplug.core.specs import EndpointSpec, Parameter, Schemas
from glowplug.core.status import FunctionStatus
from glowplug.gateway.admin_paths import OPERATIONS
from glowplug.gateway.calls import call_routes
from glowplug.gateway.openapi import document

from .fakes import House, run

POINT = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Point"}}}
MOVE = Schemas(
    arguments={"point": {"$ref": "#/$defs/Point"}, "by": {"type": "integer", "default": 1}},
    required=("point",), result={"$ref": "#/$defs/Point"}, defs={"Point": POINT},
)  # fmt: skip
SEE = Schemas({"image": {"type": "array"}}, ("image",), {"type": "array"}, ("image",), returns_array=True)


def endpoint(name: str, schemas: Schemas | None = None, **more: Any) -> EndpointSpec:
    text = "" if schemas is None else msgspec.json.encode(schemas).decode()
    return EndpointSpec(name, doc="Does it.\n\nAt length.", schema=text, **more)


FUNCTIONS = [
    FunctionStatus(
        name="mover", namespace="default", endpoints=(endpoint("move", MOVE), endpoint("see", SEE))
    ),
    FunctionStatus(name="mover", namespace="other", endpoints=(endpoint("move", MOVE),)),
    FunctionStatus(
        name="old", namespace="default",
        endpoints=(endpoint("f", parameters=(Parameter("a", "int"), Parameter("b", "int", False))),),
    ),
    FunctionStatus(
        name="teller", namespace="default",
        endpoints=(endpoint("tell", Schemas({"text": {"type": "string"}}, ("text",), streams=True)),),
    ),
]  # fmt: skip
DOCUMENT = document(FUNCTIONS, "1.2.3", wants_token=True)


def refs(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for inner in value.values() for ref in refs(inner)]
    return [ref for inner in value for ref in refs(inner)] if isinstance(value, list) else []


def body_of(path: str) -> dict[str, Any]:
    return DOCUMENT["paths"][path]["post"]["requestBody"]["content"]  # type: ignore[no-any-return]


def test_functions_are_described_by_their_schemas() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    move = DOCUMENT["paths"]["/function/mover"]["post"]
    assert (move["summary"], move["description"]) == ("Does it.", "At length.")
    point = {"$ref": "#/components/schemas/mover.default.move.Point"}
    assert body_of("/function/mover")["application/json"]["schema"] == {
        "type": "object", "additionalProperties": False, "required": ["point"],
        "properties": {"point": point, "by": {"type": "integer", "default": 1}},
    }  # fmt: skip
    assert move["responses"]["200"]["content"]["application/json"]["schema"] == point
    assert {"mover.default.move.Point", "mover.other.move.Point"} <= set(DOCUMENT["components"]["schemas"])


def test_forms_that_an_argument_may_come_in() -> None:
    assert set(body_of("/function/mover/see")) == {
        "application/json", "application/x-npy", "application/vnd.safetensors",
    }  # fmt: skip
    assert "anyOf" in body_of("/function/mover/see")["application/json"]["schema"], "the bare value will do"
    assert set(body_of("/function/teller")) == {"application/json", "text/plain"}
    told = DOCUMENT["paths"]["/function/teller"]["post"]["responses"]["200"]["content"]
    assert set(told) == {"application/x-ndjson", "text/event-stream"}
    assert body_of("/function/old")["application/json"]["schema"]["required"] == ["a"]


def test_what_yields_is_a_stream_whatever_its_annotation_says() -> None:
    kinds = {"bytes": {"type": "string", "contentEncoding": "base64"}, "text": {"type": "string"}}
    endpoints = tuple(endpoint(n, Schemas(result=kind), streams=True) for n, kind in kinds.items())
    status = FunctionStatus(name="f", namespace="default", endpoints=endpoints)
    paths = document([status], "1", wants_token=False)["paths"]
    raw, text = (
        paths[path]["post"]["responses"]["200"]["content"] for path in ("/function/f", "/function/f/text")
    )
    assert set(raw) == {"application/octet-stream"}
    assert set(text) == {"application/x-ndjson", "text/event-stream", "text/plain"}


def test_every_priority_that_is_described_is_understood() -> None:
    parameters = DOCUMENT["paths"]["/function/mover"]["post"]["parameters"]
    (schema,) = (p["schema"] for p in parameters if p["name"] == "X-Glowplug-Priority")
    labels, ranks = schema["anyOf"]
    for word in (*labels["enum"], *range(ranks["minimum"], ranks["maximum"] + 1)):
        parse_priority(str(word))


def test_the_document_is_whole() -> None:
    found = set(refs(DOCUMENT))
    assert len(found) > 10
    for ref in found:
        place: Any = DOCUMENT
        for part in ref.removeprefix("#/").split("/"):
            assert part in place, ref
            place = place[part]
    operations = [op["operationId"] for path in DOCUMENT["paths"].values() for op in path.values()]
    assert len(operations) == len(set(operations))
    names = re.compile(r"[a-zA-Z0-9._-]+")
    assert all(names.fullmatch(name) for name in DOCUMENT["components"]["schemas"])
    codes = " ".join(each["description"] for each in DOCUMENT["components"]["responses"].values())
    assert all(code in codes for code in BY_CODE)
    assert DOCUMENT["security"]
    assert "security" not in document([], "1", wants_token=False)


def test_it_lists_every_route_there_is() -> None:
    async def scenario(house: House) -> None:
        app: Starlette = house.admin
        routes = {
            (method.lower(), re.sub(r":\w+", "", route.path))  # type: ignore[attr-defined]
            for route in [*app.routes, *call_routes(None)]  # type: ignore[arg-type]
            for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]
        }
        described = {(operation.method, operation.path) for operation in OPERATIONS}
        health = {("get", path) for path in ("/livez", "/readyz", "/healthz")}
        assert described == routes | health | {("post", "/async-function/{name}")}

    run(scenario)


def test_it_is_served_and_follows_what_is_deployed() -> None:
    async def scenario(house: House) -> None:
        house.platform.statuses = {f"{f.name}.{f.namespace}": f for f in FUNCTIONS[:1]}  # type: ignore[misc]
        first = (await house.http.get("/openapi.json")).json()
        assert "/function/mover" in first["paths"]
        house.platform.statuses |= {"teller.default": FUNCTIONS[3]}  # type: ignore[dict-item]
        assert "/function/teller" in (await house.http.get("/openapi.json")).json()["paths"]
        one = (await house.http.get("/openapi.json?function=mover")).json()["paths"]
        assert [path for path in one if path.startswith("/function/")] == [
            "/function/mover",
            "/function/mover/see",
        ]
        assert (await house.http.get("/openapi.json?function=nobody")).status_code == 404

    run(scenario)


def test_the_page_is_open_and_needs_nothing_from_elsewhere() -> None:
    async def scenario(house: House) -> None:
        page = await house.http.get("/docs")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert not re.search(r"(src|href)=|https?://|innerHTML", page.text)
        assert (await house.http.get("/openapi.json")).status_code == 401

    run(scenario, token="s3cret")


@pytest.mark.parametrize("path", ["/system/load", "/system/info"])
def test_answers_have_the_schema_that_is_described(path: str) -> None:
    async def scenario(house: House) -> None:
        answer = (await house.http.get(path)).json()
        schema = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        properties = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
        assert set(answer) == set(properties)

    run(scenario)


def test_a_thousand_functions_are_described_in_reasonable_size() -> None:
    functions = [msgspec.structs.replace(FUNCTIONS[0], name=f"f{n}") for n in range(1000)]
    assert len(json.dumps(document(functions, "1", False))) < 8_000_000


@pytest.mark.parametrize(
    "schema",
    [
        "[1, 2", "{}{}", '{"arguments": 3}', "[" * 100_000, '{"arguments": {"a": 3}}', '{"arrays": [[]]}',
        '{"result": ' + '{"items": ' * 900 + "1" + "}" * 901,
    ],
)  # fmt: skip
def test_a_schema_that_makes_no_sense_is_no_others_fault(schema: str) -> None:
    """It comes with an upload."""
    odd = EndpointSpec("odd", parameters=(Parameter("a", "int"), Parameter("b", "int")), schema=schema)
    functions = [FunctionStatus(name="odd", namespace="default", endpoints=(odd,)), *FUNCTIONS]
    found = document(functions, "1.2.3", wants_token=True)["paths"]
    assert found.keys() == DOCUMENT["paths"].keys() | {"/function/odd"}
    body = found["/function/odd"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert list(body["properties"]) == ["a", "b"]
