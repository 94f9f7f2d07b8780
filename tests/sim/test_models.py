from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.core.errors import InvalidWorkload
from glowplug.sim.models import read_models


def test_the_builtin_table_has_22_models_with_the_papers_bounds() -> None:
    models = read_models()
    assert len(models) == 22
    assert {model.name for model in models} >= {"squeezenet1.1", "vgg19"}
    assert (min(m.device_bytes for m in models), max(m.device_bytes for m in models)) == (1.269e9, 3.947e9)
    assert all(2.3 < m.load_s < 4.5 and 1.2 < m.run_s < 1.7 and not m.batch_s for m in models)


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("run_s,model,device_mb,load_s,copy_s,batch_8_s,batch_2_s\n0.1,m,500,2,0.05,0.4,\n")
    (model,) = read_models(str(path))
    assert (model.name, model.device_bytes, model.load_s, model.run_s) == ("m", 500_000_000, 2.0, 0.1)
    assert (model.copy_s, model.batch_s) == (0.05, {8: 0.4})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model,load_s\n", "columns device_mb, run_s not found"),
        ("model,device_mb,load_s,run_s\n", "no model in it"),
        ("model,device_mb,load_s,run_s\nm,1,1\n", "line 2: 4 columns expected, found 3"),
        ("model,device_mb,load_s,run_s\nm,1,1,fast\n", "line 2, column run_s: a positive number"),
        ("model,device_mb,load_s,run_s\nm,nan,1,1\n", "column device_mb"),
        ("model,device_mb,load_s,run_s,batch_x_s\nm,1,1,1,1\n", "write batch_8_s"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(InvalidWorkload, match=words):
        read_models(str(path))


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidWorkload, match="cannot read"):
        read_models(str(tmp_path / "none.csv"))
