"""From a deploy request to a version: what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from glowplug.bundle.inspect import Inspection
from glowplug.bundle.store import BundleStore
from glowplug.bundle.uploads import INSPECTION
from glowplug.core.commands import Build, Climb, Target
from glowplug.core.errors import InvalidDeclaration
from glowplug.core.events import Built
from glowplug.core.ids import CommandId, FunctionId, NodeId
from glowplug.core.ladder import Step
from glowplug.core.specs import BundleFacts, Declaration, EndpointSpec, FunctionSpec
from glowplug.engines.local import _lean
from glowplug.gateway.platform import DeployRequest
from glowplug.node import wire
from glowplug.node.messages import Do, Happened
from glowplug.server.database import Database
from glowplug.server.specify import specify


def specified(tmp_path: Path, declaration: Declaration) -> FunctionSpec:
    store, database = BundleStore(tmp_path), Database(tmp_path / "glowplug.db")
    upload = "0" * 64
    (store.uploads / upload).mkdir(parents=True)
    inspection = Inspection(declarations=(declaration,))
    (store.uploads / upload / INSPECTION).write_bytes(msgspec.json.encode(inspection))
    try:
        return specify(FunctionId("shout.default"), DeployRequest("shout", upload), store, database)
    finally:
        database.close()


def test_a_prewarm_policy_that_there_is_not_is_refused(tmp_path: Path) -> None:
    declaration = Declaration("shout", "function", "app", "shout", prewarm="histgram")
    with pytest.raises(InvalidDeclaration, match="no prewarm policy is called 'histgram'; there are fixed, "):
        specified(tmp_path, declaration)


@pytest.mark.parametrize("prewarm", ["auto", "histogram"])
def test_one_that_there_is_stays(tmp_path: Path, prewarm: str) -> None:
    declaration = Declaration("shout", "function", "app", "shout", prewarm=prewarm)
    assert specified(tmp_path, declaration).declaration.prewarm == prewarm


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"env": {f"V{n}": "x" * 16_000 for n in range(5)}},
            "its variables and secrets have 80.* put what is longer",
        ),
        (
            {"endpoints": tuple(EndpointSpec(f"e{n}", schema="x" * 14_000) for n in range(5))},
            "its endpoints' descriptions and schemas have 70.* divide it",
        ),
    ],
)
def test_what_no_message_to_a_node_could_hold_is_refused(
    tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    declaration = Declaration("shout", "function", "app", "shout", **more)
    with pytest.raises(InvalidDeclaration, match=f"^shout: {words}"):
        specified(tmp_path, declaration)


def test_what_is_accepted_fits_into_every_message_to_a_node(tmp_path: Path) -> None:
    """With as much of each as may be."""
    endpoints = tuple(EndpointSpec(f"e{n}", schema="x" * 16_000) for n in range(4))
    variables = {f"V{n}": "x" * 8_000 for n in range(3)}
    declaration = Declaration("shout", "function", "app", "shout", endpoints=endpoints, env=variables)
    spec = specified(tmp_path, declaration)
    facts = BundleFacts(endpoints=endpoints)
    climb = Climb(CommandId(1), Target("instance", NodeId("n"), "1"), Step.PARKED, spec, facts)
    for command in (Build(CommandId(1), NodeId("n"), spec), climb):
        assert wire.encoded(Do(_lean(command), variables))
    assert wire.encoded(Happened(Built(CommandId(1), spec.version, NodeId("n"), facts, 1.0)))
