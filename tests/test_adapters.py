"""Adapters beside sentence-transformers': vectors, training, each other's folders; and what the fast form makes of
them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch

from tests import tiny
from tests.cross_encoder.conftest import write_classifier
from tests.training.test_trainer import STILL, arguments, history, pairs
from vicinal import CrossEncoder, SentenceTransformer, losses
from vicinal.errors import (
    DamagedModel,
    InvalidData,
    MissingExtra,
    ModelNotFound,
    UnsafeModel,
    UnsupportedModel,
)
from vicinal.training.trainer import SentenceTransformerTrainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
TEXTS = ["a red apple", "law", "the tax law - query: green apple."]


def config(kind: str = "lora", **more: Any) -> Any:
    """An adapter whose random start changes the vectors."""
    options: dict[str, Any] = {"r": 3, "target_modules": ["query", "value"], "init_lora_weights": False}
    if kind == "dora":
        options["use_dora"] = True
    if kind == "kept":
        options["modules_to_save"] = ["LayerNorm"]
    return peft.LoraConfig(**{**options, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_bert(tmp_path / "model", config=STILL)


def model(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(folder, dtype="float32")


def adapted(folder: Path, kind: str = "lora", seed: int = 0) -> SentenceTransformer:
    found = model(folder)
    found.trainable()  # whose making draws random numbers
    torch.manual_seed(seed)
    found.add_adapter(config(kind))
    return found


def peers(folder: Path, *more: Any) -> Any:
    import sentence_transformers as st

    return st.SentenceTransformer(str(folder), *more)


def near(found: Any, wanted: Any, atol: float = 2e-5) -> None:
    np.testing.assert_allclose(found, wanted, atol=atol)


@pytest.mark.parametrize("kind", ["lora", "dora", "kept"])
def test_the_fast_form_has_the_adapter_in_its_weights(kind: str, folder: Path, tmp_path: Path) -> None:
    found = adapted(folder, kind)
    assert found.active_adapters() == ["default"]
    assert found.backend == "torch"
    learnt = found.encode(TEXTS)
    assert np.abs(learnt - model(folder).encode(TEXTS)).max() > 1e-2
    found.refresh()
    assert found.backend != "torch"
    near(found.encode(TEXTS), learnt)
    found.save(tmp_path / "whole")
    near(model(tmp_path / "whole").encode(TEXTS), learnt)
    near(peers(tmp_path / "whole").encode(TEXTS), learnt)
    assert found.active_adapters() == ["default"], "saving merges a copy"


def test_it_is_the_peers_adapter(folder: Path) -> None:
    found, theirs = adapted(folder), peers(folder)
    torch.manual_seed(0)
    theirs.add_adapter(config())
    near(found.encode(TEXTS), theirs.encode(TEXTS))
    mine, yours = found.get_adapter_state_dict(), theirs.get_adapter_state_dict()
    assert mine.keys() == yours.keys()
    assert all(torch.equal(mine[name], yours[name]) for name in yours)
    assert found.active_adapter() == "default"
    assert found.has_peft_compatible_model()


def test_each_reads_the_others_adapter(folder: Path, tmp_path: Path) -> None:
    found = adapted(folder)
    learnt = found.encode(TEXTS)
    found.save_adapter(tmp_path / "ours")
    assert (tmp_path / "ours/adapter_model.safetensors").stat().st_size < 10_000
    assert not (tmp_path / "ours/model.safetensors").exists()
    theirs = peers(folder)
    theirs.load_adapter(str(tmp_path / "ours"))
    near(theirs.encode(TEXTS), learnt)
    near(peers(tmp_path / "ours").encode(TEXTS), learnt)  # as a model, on the base that it names
    theirs.save_pretrained(str(tmp_path / "theirs"))
    for name in ("ours", "theirs"):
        fresh = model(folder)
        fresh.load_adapter(tmp_path / name)
        near(fresh.encode(TEXTS), learnt)
        near(fresh.refresh().encode(TEXTS), learnt)


def test_several_adapters_take_turns(folder: Path, tmp_path: Path) -> None:
    found, plain = adapted(folder), model(folder).encode(TEXTS)
    first = found.encode(TEXTS)
    found.add_adapter(config(r=2), "second")
    second = found.encode(TEXTS)
    assert found.active_adapters() == ["second"]
    assert np.abs(second - first).max() > 1e-2
    found.set_adapter("default")
    near(found.encode(TEXTS), first)
    found.refresh()
    found.disable_adapters()
    near(found.encode(TEXTS), plain)
    near(found.refresh().encode(TEXTS), plain)
    found[0].auto_model.enable_adapters()  # behind the model's back
    near(found.encode(TEXTS), first)
    found.save_adapter(tmp_path / "second", "second")
    other = model(folder)
    other.load_adapter(tmp_path / "second", "mine")
    near(other.encode(TEXTS), second)
    found.set_adapter("second")
    found.delete_adapter("default")
    near(found.refresh().encode(TEXTS), second)
    found.delete_adapter("second")
    near(found.refresh().encode(TEXTS), plain)
    with pytest.raises(ValueError, match="No adapter loaded"):
        found.delete_adapter("second")


def trained(folder: Path, out: Path, found: Any = None, resume: Any = None, **more: Any) -> tuple[Any, Any]:
    found = adapted(folder) if found is None else found
    trainer = SentenceTransformerTrainer(
        model=found, args=arguments(out, **more), train_dataset=pairs(), loss=losses.MultipleNegativesRankingLoss(found)
    )
    trainer.train(resume_from_checkpoint=resume)
    return found, history(trainer)


def test_training_is_the_peers_and_changes_the_adapter_alone(folder: Path, tmp_path: Path) -> None:
    import sentence_transformers as st
    from sentence_transformers.sentence_transformer import losses as their_losses

    found, mine = trained(folder, tmp_path / "a")
    theirs = peers(folder)
    torch.manual_seed(0)
    theirs.add_adapter(config())
    peer = st.SentenceTransformerTrainer(
        model=theirs,
        args=arguments(tmp_path / "b", st.SentenceTransformerTrainingArguments),
        train_dataset=pairs(),
        loss=their_losses.MultipleNegativesRankingLoss(theirs),
    )
    peer.train()
    np.testing.assert_allclose(mine, history(peer), rtol=2e-4)
    assert found.backend == "openvino"
    near(found.encode(TEXTS), theirs.encode(TEXTS), 2e-4)
    start, now = adapted(folder).trainable().state_dict(), found.trainable().state_dict()
    changed = {name for name, tensor in now.items() if not torch.equal(tensor, start[name]) and "pooler" not in name}
    assert changed == {name for name in now if "lora_" in name}


def test_training_goes_on_from_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 7}
    whole, _ = trained(folder, tmp_path / "out", **options)
    checkpoint = tmp_path / "out/checkpoint-7"
    again, _ = trained(folder, tmp_path / "again", adapted(folder, seed=1), str(checkpoint), **options)
    wanted, found = whole.get_adapter_state_dict(), again.get_adapter_state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    assert model(checkpoint).encode(TEXTS).shape == (3, tiny.WIDTH)
    other = model(folder)
    other.add_adapter(config(target_modules=["key"]))
    with pytest.raises(InvalidData, match=r"checkpoint of other adapters: missing .*key.*, unknown .*query"):
        trained(folder, tmp_path / "o", other, str(checkpoint))


def test_an_adapter_of_another_network_is_not_added(folder: Path, tmp_path: Path) -> None:
    adapted(folder).save_adapter(tmp_path / "adapter")
    found, other = model(folder), tmp_path / "other"
    tiny.write_bert(other, config={**STILL, "num_hidden_layers": 1}, tensors=tiny.bert_tensors(layers=1))
    smaller = model(other)
    before = smaller.encode(TEXTS)
    with pytest.raises(DamagedModel, match=r"does not fit .*other: unknown .*layer\.1"):
        smaller.load_adapter(tmp_path / "adapter")
    near(smaller.refresh().encode(TEXTS), before)
    with pytest.raises(ValueError, match="No adapter loaded"):
        found.active_adapters()
    with pytest.raises(ValueError, match="No adapter loaded"):
        found.save_adapter(tmp_path / "none")
    found.add_adapter(config())
    with pytest.raises(ValueError, match="there is no adapter 'other', only default"):
        found.save_adapter(tmp_path / "none", "other")


def test_a_model_without_such_a_network(tmp_path: Path) -> None:
    found = SentenceTransformer(tiny.write_static(tmp_path / "static"))
    assert not found.has_peft_compatible_model()
    with pytest.raises(UnsupportedModel, match="no network of transformers"):
        found.add_adapter(config())


def test_the_package_may_be_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = model(folder)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"add_adapter\(\) needs peft.*vicinal\[peft\]"):
        found.add_adapter(config())


LOW: dict[str, dict[str, Any]] = {
    "plain": {},
    "all linear layers": {"target_modules": "all-linear", "lora_alpha": 5},
    "embeddings": {"target_modules": ["word_embeddings", "dense"]},
    "of ranks": {
        "use_rslora": True,
        "alpha_pattern": {"query": 3},
        "rank_pattern": {"layer.0.attention.self.value": 2},
    },
    "biases": {"bias": "lora_only"},
    "norms": {"modules_to_save": ["LayerNorm"]},
}


@pytest.mark.parametrize("kind", LOW)
def test_a_folder_with_an_adapter_is_a_model(kind: str, folder: Path, tmp_path: Path) -> None:
    theirs = peers(folder)
    torch.manual_seed(1)
    theirs[0].auto_model.add_adapter(config(**LOW[kind]))
    for name, parameter in theirs.named_parameters():
        if "lora_" in name or "bias" in name or "modules_to_save" in name:
            parameter.data += 0.1 * torch.randn_like(parameter)
    theirs.save_pretrained(str(tmp_path / "adapter"))
    assert not (tmp_path / "adapter/config.json").exists()
    wanted = peers(tmp_path / "adapter").encode(TEXTS)
    for backend in ("numpy", "openvino", "onnx", "torch") if kind == "plain" else ("numpy",):
        found = SentenceTransformer(tmp_path / "adapter", dtype="float32", backend=backend)
        near(found.encode(TEXTS), wanted)
    assert np.abs(wanted - model(folder).encode(TEXTS)).max() > 1e-2
    found.save(tmp_path / "whole")
    near(peers(tmp_path / "whole").encode(TEXTS), wanted)
    assert found.fingerprint == model(tmp_path / "whole").fingerprint != model(folder).fingerprint
    stated = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps({**stated, "lora_alpha": 50, "alpha_pattern": {}}))
    assert model(tmp_path / "adapter").fingerprint != found.fingerprint


def test_a_reranker_with_an_adapter(tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder as Peer

    theirs = Peer(str(write_classifier(tmp_path / "base")))
    torch.manual_seed(1)
    theirs.model.add_adapter(config(modules_to_save=["classifier"]))
    for name, parameter in theirs.model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.data += 0.1 * torch.randn_like(parameter)
    theirs.save_pretrained(str(tmp_path / "adapter"))
    rows = [("red apple", "tax law"), ("red", "green")]
    wanted = Peer(str(tmp_path / "adapter")).predict(rows)
    near(CrossEncoder(tmp_path / "adapter", dtype="float32").predict(rows), wanted)
    assert np.abs(wanted - CrossEncoder(tmp_path / "base", dtype="float32").predict(rows)).max() > 1e-2


def test_what_save_adapter_writes_is_a_model(folder: Path, tmp_path: Path) -> None:
    found = adapted(folder)
    found.save_adapter(tmp_path / "adapter")
    near(model(tmp_path / "adapter").encode(TEXTS), found.encode(TEXTS))


def test_an_adapter_needs_neither_torch_nor_peft(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapted(folder).save_adapter(tmp_path / "adapter")
    code = (
        "import sys; sys.modules['torch'] = sys.modules['peft'] = sys.modules['transformers'] = None\n"
        "from vicinal import SentenceTransformer\n"
        f"print(SentenceTransformer({str(tmp_path / 'adapter')!r}, dtype='float32').encode('a red apple').sum())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    near(float(said), model(tmp_path / "adapter").encode("a red apple").sum())


def test_adapters_that_cannot_be_added_are_refused(folder: Path, tmp_path: Path) -> None:
    adapted(folder, "dora").save_adapter(tmp_path / "dora")
    with pytest.raises(UnsupportedModel, match="LoRA with use_dora is not handled here"):
        model(tmp_path / "dora")
    at = tmp_path / "adapter"
    adapted(folder).save_adapter(at)
    settings = json.loads((at / "adapter_config.json").read_text())

    def changed(**more: Any) -> None:
        (at / "adapter_config.json").write_text(json.dumps({**settings, **more}))

    changed(peft_type="IA3")
    with pytest.raises(UnsupportedModel, match=r"the kind 'IA3' .* load_adapter\(\) it"):
        model(at)
    changed(init_lora_weights="pissa")
    with pytest.raises(UnsupportedModel, match="init_lora_weights='pissa' changes other weights too"):
        model(at)
    changed(base_model_name_or_path=str(tmp_path / "gone"))
    with pytest.raises(ModelNotFound, match="gone"):
        model(at)
    changed(base_model_name_or_path=None)
    with pytest.raises(DamagedModel, match="does not say which model it belongs to"):
        model(at)
    other = tiny.write_bert(
        tmp_path / "other", config={**STILL, "num_hidden_layers": 1}, tensors=tiny.bert_tensors(layers=1)
    )
    changed(base_model_name_or_path=str(other))
    with pytest.raises(DamagedModel, match=r"the adapter is not one of .*other"):
        model(at)
    narrow = {name: array[:, :9] if "query.weight" in name else array for name, array in tiny.bert_tensors().items()}
    changed(base_model_name_or_path=str(tiny.write_bert(tmp_path / "narrow", tensors=narrow)))
    with pytest.raises(DamagedModel, match=r"query \[22, 22\], where that model has \[22, 9\]"):
        model(at)
    changed()
    (at / "adapter_model.safetensors").unlink()
    with pytest.raises(DamagedModel, match=r"adapter_config.json, but no adapter_model.safetensors"):
        model(at)


def test_an_adapter_from_the_hub_names_no_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "cache/models--some--adapter/snapshots/abc"
    cached.parent.mkdir(parents=True)
    adapted(folder).save_adapter(cached)
    (tmp_path / "cache/models--some--adapter/refs").mkdir()
    (tmp_path / "cache/models--some--adapter/refs/main").write_text("abc")
    with pytest.raises(UnsafeModel, match="some/adapter is made from a folder"):
        SentenceTransformer("some/adapter", cache_folder=tmp_path / "cache", dtype="float32")
