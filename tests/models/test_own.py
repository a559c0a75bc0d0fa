"""Modules of users' own: they train, encode, are saved, and run again only where that is safe."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from tests.tiny import WIDTH, write_bert, write_json
from vicinal import InputExample, SentenceTransformer, losses, models
from vicinal.errors import DamagedModel, UnsafeModel, UnsupportedModel
from vicinal.loading.own import DEFINED

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sentence_transformers import SentenceTransformer as Peer

TEXTS = ["a red apple", "tax law", "the green query of the tax law", "red"]
PLACE = __name__


class Letters(models.InputModule):
    """Counts letters: a first module with `preprocess` alone."""

    config_keys: ClassVar[Sequence[str]] = ("letters",)

    def __init__(self, letters: str = "aelrt") -> None:
        super().__init__()
        self.letters = letters
        self.weights = nn.Parameter(torch.linspace(0.5, 1.5, len(letters)))

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **options: Any) -> dict[str, Any]:
        counts = [[float(f"{prompt or ''}{text}".count(letter)) for letter in self.letters] for text in inputs]
        return {"counts": torch.tensor(counts)}

    def forward(self, features: dict[str, Any], **options: Any) -> dict[str, Any]:
        return {**features, "sentence_embedding": features["counts"] * self.weights}

    def get_embedding_dimension(self) -> int:
        return len(self.letters)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> Letters:
        return super().load(model_name_or_path, subfolder, **options)


class Older(nn.Module):
    """As older code has it: `tokenize`, no base class of a library, `load` of the module's own folder."""

    def tokenize(self, texts: list[str]) -> dict[str, Any]:
        return {"lengths": torch.tensor([[float(len(text)), 1.0] for text in texts])}

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        features["sentence_embedding"] = features["lengths"]
        return features

    def get_sentence_embedding_dimension(self) -> int:
        return 2

    def save(self, output_path: str) -> None:
        Path(output_path, "older.txt").write_text("here")

    @staticmethod
    def load(input_path: str) -> Older:
        assert Path(input_path, "older.txt").read_text() == "here"
        return Older()


class Scaled(models.Module):
    """Multiplies a text's vector, by more where a call says so."""

    config_keys: ClassVar[Sequence[str]] = ("by",)
    forward_kwargs: ClassVar[set[str]] = {"more", "task"}

    def __init__(self, by: float = 2.0) -> None:
        super().__init__()
        self.by = by

    def forward(
        self, features: dict[str, Any], more: float = 1.0, task: str | None = None, **options: Any
    ) -> dict[str, Any]:
        sign = -1 if task == "query" else 1
        return {**features, "sentence_embedding": features["sentence_embedding"] * self.by * more * sign}


class Doubled(models.Pooling):
    """Derived from a module that has a network: not what that network computes."""

    def forward(self, features: dict[str, Any], **options: Any) -> dict[str, Any]:
        made = super().forward(features, **options)
        return {**made, "sentence_embedding": made["sentence_embedding"] * 2}


def bert(tmp_path: Path) -> models.Transformer:
    return models.Transformer(str(write_bert(tmp_path / "bert")))


def near(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def counts(texts: Sequence[str]) -> Any:
    return np.array([[text.count(letter) for letter in "aelrt"] for text in texts]) * np.linspace(0.5, 1.5, 5)


def test_a_first_module_of_ones_own(tmp_path: Path) -> None:
    found = SentenceTransformer(modules=[Letters(), Scaled(3.0)])
    near(found.encode(TEXTS), counts(TEXTS) * 3)
    near(found.encode(TEXTS[0], prompt="a tall "), counts(["a tall a red apple"])[0] * 3)
    near(np.stack(list(found.encode_iter(TEXTS))), counts(TEXTS) * 3)
    assert found.get_embedding_dimension() == 5
    found.save(str(tmp_path / "model"))
    listed = json.loads((tmp_path / "model" / "modules.json").read_text())
    assert [entry["type"] for entry in listed] == [f"{PLACE}.Letters", f"{PLACE}.Scaled"]
    read = SentenceTransformer(str(tmp_path / "model"))
    near(read.encode(TEXTS), found.encode(TEXTS))
    assert read.fingerprint == found.fingerprint
    assert f"{PLACE}.Letters" in repr(read)
    other = SentenceTransformer(modules=[Letters("elrta"), Scaled(3.0)])
    assert other.fingerprint != found.fingerprint
    near(Peer(str(tmp_path / "model"), device="cpu", trust_remote_code=True).encode(TEXTS), found.encode(TEXTS))


def test_training(tmp_path: Path) -> None:
    found = SentenceTransformer(modules=[Letters(), Scaled()])
    before = found.encode(TEXTS)
    examples = [InputExample(texts=[one, other]) for one in TEXTS[:2] for other in TEXTS[2:]]
    loader = torch.utils.data.DataLoader(examples, batch_size=2)
    found.fit([(loader, losses.MultipleNegativesRankingLoss(found))], epochs=1, warmup_steps=0,
              show_progress_bar=False, optimizer_params={"lr": 0.1}, output_path=str(tmp_path / "model"))  # fmt: skip
    assert np.abs(found.encode(TEXTS) - before).max() > 1e-2
    near(SentenceTransformer(str(tmp_path / "model")).encode(TEXTS), found.encode(TEXTS))


def test_keyword_arguments_go_to_the_modules_that_name_them(tmp_path: Path) -> None:
    found = SentenceTransformer(modules=[bert(tmp_path), models.Pooling(WIDTH), Scaled()])
    plain = found.encode(TEXTS)
    near(found.encode(TEXTS, more=2.5), plain * 2.5)
    near(found.encode_query(TEXTS), -plain)
    near(found.encode_document(TEXTS, more=2.0), plain * 2)
    near(found(found.tokenize(TEXTS), more=3.0)["sentence_embedding"].detach(), plain * 3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'less'"):
        found.encode(TEXTS, less=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'more'"):
        SentenceTransformer(str(write_bert(tmp_path / "plain"))).encode(TEXTS, more=1)


def test_keyword_arguments_that_modules_json_names(tmp_path: Path) -> None:
    found = SentenceTransformer(modules=[Letters(), Scaled()])
    found.save(str(tmp_path / "model"))
    path = tmp_path / "model" / "modules.json"
    listed = json.loads(path.read_text())
    listed[1]["kwargs"] = ["other"]
    write_json(path, listed)
    read = SentenceTransformer(str(tmp_path / "model"))
    near(read.encode(TEXTS, other=1), found.encode(TEXTS))
    read.save(str(tmp_path / "again"))
    assert json.loads((tmp_path / "again" / "modules.json").read_text())[1]["kwargs"] == ["other"]


def test_what_is_derived_from_a_module_with_a_network_is_not_taken_for_it(tmp_path: Path) -> None:
    plain = SentenceTransformer(modules=[bert(tmp_path), models.Pooling(WIDTH)], dtype="float32")
    found = SentenceTransformer(modules=[bert(tmp_path), Doubled(WIDTH)])
    assert (plain.backend, found.backend) == ("openvino", "torch")
    np.testing.assert_allclose(found.encode(TEXTS), plain.encode(TEXTS) * 2, atol=2e-5)
    assert found.refresh().backend == "torch"
    found.save(str(tmp_path / "model"))
    near(SentenceTransformer(str(tmp_path / "model")).encode(TEXTS), found.encode(TEXTS))
    assert found.get_embedding_dimension() == WIDTH


def test_older_modules(tmp_path: Path) -> None:
    found = SentenceTransformer(modules=[Older()])
    near(found.encode(TEXTS), [[len(text), 1] for text in TEXTS])
    found.save(str(tmp_path))
    with pytest.raises(UnsafeModel, match="Older"):
        SentenceTransformer(str(tmp_path))
    read = SentenceTransformer(str(tmp_path), trust_remote_code=True)
    near(read.encode(TEXTS), found.encode(TEXTS))


CODE = """
from pathlib import Path
from vicinal import models
Path({mark!r}).write_text("ran")
class Brought(models.Module):
    def forward(self, features, **options):
        return {{**features, "sentence_embedding": features["sentence_embedding"] + 1}}
"""


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A model whose folder brings code, and the file that the code writes."""
    from transformers import dynamic_module_utils
    from transformers.utils import hub

    for home in (dynamic_module_utils, hub):
        monkeypatch.setattr(home, "HF_MODULES_CACHE", str(tmp_path / "modules"), raising=False)
    folder, mark = tmp_path / "model", tmp_path / "mark"
    SentenceTransformer(modules=[models.BoW(["red", "law"]), Scaled()]).save(str(folder))
    listed = json.loads((folder / "modules.json").read_text())
    listed[1] = {"idx": 1, "name": "1", "path": "1_Brought", "type": "modeling_brought.Brought"}
    write_json(folder / "modules.json", listed)
    write_json(folder / "1_Brought" / "config.json", {})
    (folder / "modeling_brought.py").write_text(textwrap.dedent(CODE.format(mark=str(mark))))
    return folder, mark


def test_code_of_a_folder_runs_only_where_it_is_trusted(brought: tuple[Path, Path], tmp_path: Path) -> None:
    folder, mark = brought
    for backend in ("auto", "torch"):
        with pytest.raises(UnsafeModel, match=r"'modeling_brought\.Brought'.*trust_remote_code=True"):
            SentenceTransformer(str(folder), backend=backend)
    assert not mark.exists()
    with pytest.raises(UnsupportedModel, match="BoW"):
        SentenceTransformer(str(folder), backend="openvino", trust_remote_code=True)
    assert not mark.exists()
    found = SentenceTransformer(str(folder), trust_remote_code=True)
    assert mark.exists()
    near(found.encode(TEXTS), [[2, 1], [1, 2], [1, 2], [2, 1]])
    found.save(str(tmp_path / "again"))
    (folder / "modeling_brought.py").unlink()
    read = SentenceTransformer(str(tmp_path / "again"), trust_remote_code=True)
    near(read.encode(TEXTS), found.encode(TEXTS))


def test_another_program_runs_what_it_has_not_defined_only_where_it_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "shouting.py").write_text(
        textwrap.dedent("""
        from vicinal import models
        class Shouting(models.Module):
            def forward(self, features, **options):
                return {**features, "sentence_embedding": features["sentence_embedding"] * 10}
    """)
    )
    code = """
        import sys
        from vicinal import SentenceTransformer, errors
        try:
            SentenceTransformer(sys.argv[1])
        except errors.UnsafeModel as error:
            assert "shouting.Shouting" in str(error) and "shouting" not in sys.modules
            import shouting
            print(SentenceTransformer(sys.argv[1]).encode("red").tolist())
    """
    folder = tmp_path / "model"
    SentenceTransformer(modules=[models.BoW(["red", "law"]), Scaled(1.0)]).save(str(folder))
    listed = json.loads((folder / "modules.json").read_text())
    listed[1]["type"] = "shouting.Shouting"
    write_json(folder / "modules.json", listed)
    write_json(folder / listed[1]["path"] / "config.json", {})
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), str(folder)],
                          cwd=tmp_path, capture_output=True, text=True,
                          env={"PYTHONPATH": f"{tmp_path}:{Path(models.__file__).parents[2]}", "PATH": ""})  # fmt: skip
    assert done.stdout.strip() == "[10.0, 0.0]", done.stderr


def test_backends_without_torch_refuse_by_name(tmp_path: Path) -> None:
    SentenceTransformer(modules=[Letters()]).save(str(tmp_path))
    with pytest.raises(UnsupportedModel, match=r'Letters.*backend="torch"'):
        SentenceTransformer(str(tmp_path), backend="openvino")


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    SentenceTransformer(modules=[Letters(), Scaled()]).save(str(tmp_path))
    listed = json.loads((tmp_path / "modules.json").read_text())
    for kind in ("nowhere.Module", f"{PLACE}.Nothing"):
        listed[1]["type"] = kind
        write_json(tmp_path / "modules.json", listed)
        with pytest.raises(UnsupportedModel, match=f"'{kind}'"):
            SentenceTransformer(str(tmp_path), trust_remote_code=True)


class Silent(models.Module):
    """Halves the width, and does not say so."""

    def forward(self, features: dict[str, Any], **options: Any) -> dict[str, Any]:
        return {**features, "sentence_embedding": features["sentence_embedding"][:, ::2]}


class Lost(models.Module):
    def forward(self, features: dict[str, Any], **options: Any) -> dict[str, Any]:
        return {"other": features["sentence_embedding"]}


class Astray(models.Router):
    def forward(self, features: dict[str, Any], task: str | None = None, **options: Any) -> dict[str, Any]:
        return features


def test_what_is_not_as_it_says() -> None:
    with pytest.raises(DamagedModel, match=r"make 3 dimensions, but say 5.*Silent.*get_embedding_dimension"):
        SentenceTransformer(modules=[Letters(), Silent()]).encode(TEXTS)
    with pytest.raises(DamagedModel, match=r"'sentence_embedding'.*other"):
        SentenceTransformer(modules=[Letters(), Lost()]).encode(TEXTS)
    with pytest.raises(UnsupportedModel, match="Astray"):
        SentenceTransformer(modules=[Astray({"query": [Letters()], "document": [Letters()]})])
    with pytest.raises(UnsupportedModel, match=r"Identity.*preprocess\(inputs\)"):
        SentenceTransformer(modules=[nn.Identity()]).encode(TEXTS)


def test_what_needs_tokens(tmp_path: Path) -> None:
    found = SentenceTransformer(modules=[Letters()])
    with pytest.raises(UnsupportedModel, match=r"Letters.*TokenModule"):
        found.encode(TEXTS, output_value="token_embeddings")
    with pytest.raises(UnsupportedModel, match=r"Letters.*TokenModule"):
        found.encode_document(TEXTS, long="chunks")
    with pytest.raises(UnsupportedModel, match="cannot be saved"):
        SentenceTransformer(modules=[Letters(), nn.Sequential()]).save(str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()


class Words(models.InputModule):
    """Has tokens, and a tokenizer of `transformers`, but batches by `preprocess`."""

    def __init__(self, network: models.Transformer) -> None:
        super().__init__()
        self.network, self.tokenizer = network, network.tokenizer

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **options: Any) -> dict[str, Any]:
        return dict(self.tokenizer(list(inputs), padding=True, return_tensors="pt"))

    def forward(self, features: dict[str, Any], **options: Any) -> dict[str, Any]:
        return self.network(features)


def test_prompts_that_pooling_leaves_out(tmp_path: Path) -> None:
    network = bert(tmp_path)
    found = SentenceTransformer(modules=[Words(network), models.Pooling(WIDTH, include_prompt=False)])
    plain = SentenceTransformer(modules=[network, models.Pooling(WIDTH, include_prompt=False)], dtype="float32")
    near_enough = {"atol": 2e-5}
    np.testing.assert_allclose(
        found.encode(TEXTS, prompt="query: "), plain.encode(TEXTS, prompt="query: "), **near_enough
    )
    with pytest.raises(UnsupportedModel, match="Letters gives no input_ids"):
        SentenceTransformer(modules=[Letters(), models.Pooling(WIDTH, include_prompt=False)]).encode("a", prompt="b")


def test_activations_that_torch_alone_has(tmp_path: Path) -> None:
    dense = models.Dense(5, 3, activation_function=nn.LeakyReLU())
    found = SentenceTransformer(modules=[Letters(), dense])
    found.save(str(tmp_path))
    read = SentenceTransformer(str(tmp_path))
    near(read.encode(TEXTS), found.encode(TEXTS))
    near(Peer(str(tmp_path), device="cpu", trust_remote_code=True).encode(TEXTS), found.encode(TEXTS))
    config = tmp_path / "1_Dense" / "config.json"
    write_json(config, {**json.loads(config.read_text()), "activation_function": f"{PLACE}.Shifted"})
    with pytest.raises(UnsupportedModel, match="Shifted"):
        SentenceTransformer(str(tmp_path))
    assert SentenceTransformer(str(tmp_path), trust_remote_code=True).encode("a").shape == (3,)


class Shifted(nn.Module):
    def forward(self, x: Any) -> Any:
        return x + 1


def test_modules_are_known_once_they_are_defined() -> None:
    assert DEFINED[f"{PLACE}.Letters"] is Letters
    assert not any(name.startswith("vicinal.") for name in DEFINED)
