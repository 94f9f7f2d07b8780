"""From a deploy request to a version: what is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from glowplug.bundle.inspect import Inspection
from glowplug.bundle.store import BundleStore
from glowplug.bundle.uploads import INSPECTION
from glowplug.core.errors import InvalidDeclaration
from glowplug.core.ids import FunctionId
from glowplug.core.specs import Declaration, FunctionSpec
from glowplug.gateway.platform import DeployRequest
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
