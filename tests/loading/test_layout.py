"""vicinal.loading.layout: what is needed of a model's files; test_locate and test_hub show it at work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hub_server import UNNEEDED, model_files, write
from vicinal.errors import DamagedModel, UnsafeModel
from vicinal.loading.layout import Contents, Plan, on_disk, plan

WHOLE = model_files()


def planned(files: Mapping[str, bytes]) -> Plan:
    return plan(Contents(frozenset(files), files.__getitem__, "here"))


def chosen(files: dict[str, bytes], bits: int) -> dict[str, bytes]:
    return {name: content for number, (name, content) in enumerate(files.items()) if bits >> number & 1}


def test_needed_and_nothing_else() -> None:
    found = planned(WHOLE | UNNEEDED)
    assert set(found.small) | set(found.weights) == set(WHOLE)
    assert found.weights == ("2_Dense/model.safetensors", "model.safetensors")
    assert found.missing == ()


@given(st.integers(0, 2 ** len(WHOLE) - 1), st.integers(0, 2 ** len(UNNEEDED) - 1))
def test_what_is_planned_is_there(kept: int, added: int) -> None:
    files = chosen(WHOLE, kept) | chosen(UNNEEDED, added)
    gone = WHOLE.keys() - files
    found = planned(files)
    assert {*found.small, *found.weights} <= files.keys()
    if not gone & {"modules.json", "config.json", "1_Pooling/config.json"} and not found.missing:
        assert "2_Dense/model.safetensors" in found.weights
        assert {"model.safetensors", "pytorch_model.bin"} & set(found.weights)


@pytest.mark.parametrize(
    ("file", "needed"),
    [
        ("spiece.model", True),
        ("sentencepiece.bpe.model", True),
        ("merges.txt", True),
        ("special_tokens_map.json", True),
        ("chat_template.jinja", True),
        ("LICENSE", True),
        ("1_Pooling/extra.json", True),
        ("pytorch_model.bin.index.json", False),
        ("model.fp16.safetensors", False),
        ("consolidated.safetensors", False),
        ("optimizer.pt", False),
        ("eval_results.json", False),
        ("eval/similarity.csv", False),
        ("coreml/config.json", False),
        ("sub/tokenizer.json", False),
        ("modeling_custom.py", False),
        ("notes.txt", False),
    ],
)
def test_by_name(file: str, needed: bool) -> None:
    found = planned(WHOLE | {file: b"{}"})
    assert (file in found.small) == needed
    assert file not in found.weights


def test_adapter_without_a_network() -> None:
    found = planned({"adapter_config.json": b"{}", "adapter_model.safetensors": b"", "tokenizer.json": b"{}"})
    assert found == Plan(("adapter_config.json", "tokenizer.json"), ("adapter_model.safetensors",), ())


def test_somebodys_own_module_may_have_weights_or_not() -> None:
    modules = b'[{"path": "", "type": "own.Module"}, {"path": "1_Own", "type": "own.Other"}]'
    found = planned({"modules.json": modules, "1_Own/model.safetensors": b""})
    assert (found.weights, found.missing) == (("1_Own/model.safetensors",), ())


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "3", "null", '["a"]', '[{"path": "x"}]', '[{"path": 3, "type": "Dense"}]', "[" * 100_000, "\xff"],
)
def test_damaged_modules(text: str) -> None:
    with pytest.raises(DamagedModel, match=r"modules\.json of here (is|has) "):
        planned(WHOLE | {"modules.json": text.encode("latin-1")})


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"types": []}', '{"types": {"": "Router"}}', '{"types": {".": "Router"}}']
)
def test_damaged_router(text: str) -> None:
    files = {"modules.json": b'[{"path": "", "type": "Router"}]', "router_config.json": text.encode()}
    with pytest.raises(DamagedModel, match=r"router_config\.json of here"):
        planned(files)


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 3}}'])
def test_damaged_index(text: str) -> None:
    files = {name: content for name, content in WHOLE.items() if name != "model.safetensors"}
    with pytest.raises(DamagedModel, match=r"model\.safetensors\.index\.json of here has "):
        planned(files | {"model.safetensors.index.json": text.encode()})


def test_index_that_leads_elsewhere() -> None:
    files = {name: content for name, content in WHOLE.items() if name != "model.safetensors"}
    with pytest.raises(UnsafeModel, match=r"index\.json of here names '\.\./x', which lies outside"):
        planned(files | {"model.safetensors.index.json": b'{"weight_map": {"a": "../x"}}'})


def test_files_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, WHOLE)
    (tmp_path / "nowhere.json").symlink_to(tmp_path / "absent")
    contents = on_disk(tmp_path)
    assert contents.names == set(WHOLE)
    assert contents.json("config.json") == {"model_type": "bert"}
