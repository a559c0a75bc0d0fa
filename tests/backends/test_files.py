"""Models whose network is a file that another program exported."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vicinal
from tests import tiny
from tests.cross_encoder.conftest import write_classifier
from vicinal import CrossEncoder, SentenceTransformer
from vicinal.backends.files import stored_dtype
from vicinal.errors import DamagedModel, Unavailable, UnsupportedModel

TEXTS = ["red apple", "tax law of the apple", "the", "green green red tax law tax law"] * 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT's folder with its weights, `onnx/` of vicinal's own making and `openvino/` of OpenVINO's converter."""
    folder = tiny.write_bert(tmp_path_factory.mktemp("model"))
    model = SentenceTransformer(folder, dtype="float32")
    vicinal.export_optimized_onnx_model(model, "O1", folder)
    (folder / "onnx" / "model_O1.onnx").rename(folder / "onnx" / "model.onnx")
    vicinal.export_dynamic_quantized_onnx_model(model, "avx2", folder)
    vicinal.export_onnx(model, folder / "whole.onnx")
    convert(folder)
    return folder


def convert(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    import openvino as ov

    network = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager")

    class States(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = network.eval()

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            given = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
            return self.network(**given).last_hidden_state

    names = ("input_ids", "attention_mask", "token_type_ids")
    example = {name: torch.ones(2, 5, dtype=torch.int64) for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = ov.convert_model(States(), example_input=example)
    for node, name in zip(made.inputs, names, strict=True):
        node.get_tensor().set_names({name})
    made.outputs[0].get_tensor().set_names({"last_hidden_state"})
    (folder / "openvino").mkdir()
    ov.save_model(made, folder / "openvino" / "openvino_model.xml", compress_to_fp16=False)


@pytest.fixture(scope="module")
def wanted(folder: Path) -> Any:
    return SentenceTransformer(folder, backend="numpy").encode(TEXTS)


def load(folder: Path, name: str | None = None, backend: str = "auto", **kwargs: Any) -> SentenceTransformer:
    more = {} if name is None else {"file_name": name}
    return SentenceTransformer(folder, backend=backend, model_kwargs={**more, **kwargs})


@pytest.mark.parametrize("backend", ["auto", "own"])
@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("onnx/model.onnx", "onnx"),
        ("model.onnx", "onnx"),
        ("whole.onnx", "onnx"),
        ("openvino/openvino_model.xml", "openvino"),
        ("openvino_model.xml", "openvino"),
    ],
)
def test_a_file_gives_the_vectors_of_the_weights(name: str, runs: str, backend: str, folder: Path, wanted: Any) -> None:
    model = load(folder, name, runs if backend == "own" else "auto", dtype="float32")
    assert (model.backend, model.dtype) == (runs, "float32")
    np.testing.assert_allclose(model.encode(TEXTS), wanted, atol=1e-5)
    states = model.encode(TEXTS[0], output_value="token_embeddings")
    assert states.shape == (len(model.tokenizer.encode(TEXTS[0]).ids), tiny.WIDTH)


def test_subfolder_and_export(folder: Path, wanted: Any) -> None:
    for backend in ("onnx", "openvino"):
        model = load(folder, None, backend, export=False, dtype="float32")
        assert type(model.spec.route(None).modules[0]).__name__ == "Exported"
        np.testing.assert_allclose(model.encode(TEXTS), wanted, atol=1e-5)
    model = load(folder, "model.onnx", subfolder="onnx")
    assert model.backend == "onnx"
    model = load(folder, export=True)
    assert type(model.spec.route(None).modules[0]).__name__ == "Transformer"


def test_a_quantised_file_says_so(folder: Path, wanted: Any) -> None:
    model = load(folder, "onnx/model_quint8_avx2.onnx")
    assert (model.backend, model.dtype) == ("onnx", "int8")
    found = model.encode(TEXTS)
    assert 0.99 < (found * wanted).sum(1).min() < 1 - 1e-7
    with pytest.raises(Unavailable, match="has products of int8, not float32: leave dtype to the file"):
        load(folder, "onnx/model_quint8_avx2.onnx", dtype="float32")
    with pytest.raises(Unavailable, match="has products of float32, not int8"):
        load(folder, "onnx/model.onnx", dtype="int8")


def halved(file: Path, to: Path, ids: str = "int64") -> None:
    """The file with its products in float16, as converters write it, and ids that come in another type."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(file))
    weights, nodes = {tensor.name: tensor for tensor in model.graph.initializer}, []
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights:
            left, right, (out,) = node.input[0], weights[node.input[1]], list(node.output)
            right.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(right).astype(np.float16), right.name))
            nodes.append(helper.make_node("Cast", [left], [f"{out} in"], to=TensorProto.FLOAT16))
            nodes.append(helper.make_node("MatMul", [f"{out} in", right.name], [f"{out} half"]))
            nodes.append(helper.make_node("Cast", [f"{out} half"], [out], to=TensorProto.FLOAT))
        else:
            nodes.append(node)
    if ids != "int64":
        name = model.graph.input[0].name
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.DataType.Value(ids)
        for node in nodes:
            node.input[:] = ["whole" if given == name else given for given in node.input]
        nodes.insert(0, helper.make_node("Cast", [name], ["whole"], to=TensorProto.INT64))
    copied = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copied)
    onnx.save(model, str(to))


def test_a_file_in_float16_says_so(folder: Path, tmp_path: Path, wanted: Any) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "m"))
    halved(folder / "onnx" / "model.onnx", own / "onnx" / "half.onnx")
    for dtype in ("auto", "float16"):
        model = load(own, "onnx/half.onnx", dtype=dtype)
        assert (model.backend, model.dtype) == ("onnx", "float16")
        np.testing.assert_allclose(model.encode(TEXTS), wanted, atol=5e-3)
    with pytest.raises(Unavailable, match="has products of float16, not float32: leave dtype to the file"):
        load(own, "onnx/half.onnx", dtype="float32")
    halved(folder / "onnx" / "model.onnx", own / "onnx" / "odd.onnx", ids="DOUBLE")
    with pytest.raises(UnsupportedModel, match=r"odd.onnx asks for input_ids: tensor\(double\)"):
        load(own, "onnx/odd.onnx")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_onnxruntime_drops(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the build, but its libraries are not there: onnxruntime warns and takes the processor."""
    from vicinal.backends import onnx

    there = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnx.ort, "get_available_providers", lambda: there)
    for name in (None, "onnx/model.onnx"):
        with pytest.raises(
            Unavailable, match=r"'CUDAExecutionProvider' could not be loaded .* on CPUExecutionProvider"
        ):
            load(folder, name, "onnx", dtype="float32", provider="CUDAExecutionProvider")


def test_openvino_file_in_bfloat16(folder: Path, wanted: Any) -> None:
    from vicinal.backends.openvino import has_bfloat16

    model = load(folder, "openvino/openvino_model.xml")
    assert model.dtype == ("bfloat16" if has_bfloat16() else "float32")
    assert (model.encode(TEXTS) * wanted).sum(1).min() > 0.998


@pytest.mark.parametrize("kinds", [("onnx",), ("openvino",), ("onnx", "openvino")])
def test_an_unknown_architecture_runs_from_its_file(
    kinds: tuple[str, ...], folder: Path, wanted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = unknown(folder, tmp_path / "model", kinds)
    model = SentenceTransformer(other, dtype="float32", model_kwargs={"export": None})
    assert model.backend == kinds[-1]
    np.testing.assert_allclose(model.encode(TEXTS), wanted, atol=1e-5)
    assert model.max_seq_length == 17
    for backend in kinds:
        assert SentenceTransformer(other, backend=backend, dtype="float32").backend == backend
    with pytest.raises(UnsupportedModel, match="model_type 'frobnicate' has no network here"):
        SentenceTransformer(other, backend="numpy")
    monkeypatch.setattr("vicinal.backends.find_spec", lambda name: None)  # as if torch were not installed
    with pytest.raises(UnsupportedModel, match="model_type 'frobnicate' has no network here"):
        load(other, export=True)


def unknown(folder: Path, other: Path, kinds: tuple[str, ...]) -> Path:
    """The folder without weights, of a network that is not known."""
    shutil.copytree(folder, other)
    (other / "model.safetensors").unlink()
    for kind in {"onnx", "openvino"} - set(kinds):
        shutil.rmtree(other / kind)
    tiny.write_json(other / "config.json", {**tiny.CONFIG, "model_type": "frobnicate"})
    return other


def test_a_configuration_that_says_too_little(folder: Path, tmp_path: Path) -> None:
    other = unknown(folder, tmp_path / "model", ("onnx",))
    tiny.write_json(other / "config.json", {"model_type": "frobnicate", "vocab_size": 68})
    with pytest.raises(DamagedModel, match=r"config\.json does not state hidden_size or d_model"):
        SentenceTransformer(other)
    tiny.write_json(other / "config.json", {"model_type": "frobnicate", "vocab_size": 68, "dim": 23})
    pooling = {"word_embedding_dimension": 23, "pooling_mode_mean_tokens": True}
    tiny.write_json(other / "1_Pooling" / "config.json", pooling)
    with pytest.raises(DamagedModel, match=r"makes \(1, 1, 22\) of one token; the configuration says \(1, 1, 23\)"):
        SentenceTransformer(other)


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"no nope\.onnx or onnx/nope\.onnx; it has onnx/model\.onnx, .*whole"):
        load(folder, "nope.onnx")
    with pytest.raises(UnsupportedModel, match="it has no exported file at all"):
        load(tiny.write_bert(tmp_path / "plain"), export=False)
    with pytest.raises(ValueError, match=r"file_name must end in \.xml or \.onnx, not be 'model\.bin'"):
        load(folder, "model.bin")
    with pytest.raises(ValueError, match="file_name must be a text, not 3"):
        load(folder, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="export must be True or False, not 'yes'"):
        load(folder, export="yes")
    with pytest.raises(ValueError, match="export=True computes from the weights"):
        load(folder, "model.onnx", export=True)
    with pytest.raises(Unavailable, match=r"model\.onnx is run by backend=\"onnx\", not by 'openvino'"):
        load(folder, "model.onnx", "openvino")
    with pytest.raises(Unavailable, match=r"a file is run by .*, not by 'numpy'"):
        load(folder, "model.onnx", "numpy")
    with pytest.raises(UnsupportedModel, match="file_name are for a SentenceTransformer"):
        CrossEncoder(write_classifier(tmp_path / "ce"), model_kwargs={"file_name": "model.onnx"})
    with pytest.raises(UnsupportedModel, match="leave export=False out"):
        CrossEncoder(tmp_path / "ce", model_kwargs={"export": False})


def test_a_file_outside_the_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(vicinal.errors.UnsafeModel, match="not inside its folder"):
        load(folder, "../model.onnx")


def test_damaged_files(tmp_path: Path, folder: Path) -> None:
    other = tiny.write_bert(tmp_path / "model")
    for name in ("onnx/model.onnx", "openvino/openvino_model.xml"):
        (other / name).parent.mkdir()
        (other / name).write_bytes(b"not a model")
        with pytest.raises(DamagedModel, match=r"cannot be (read|loaded)"):
            load(other, name)
    whole = (folder / "onnx" / "model.onnx").read_bytes()
    (other / "onnx" / "model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedModel, match=r"cannot be (read|loaded)"):
        load(other, "model.onnx")


def test_inputs_and_outputs_that_are_not_known(tmp_path: Path) -> None:
    from vicinal.backends import onnx

    other = tiny.write_bert(tmp_path / "model")
    for given, made, text in (("past_key_values", "last_hidden_state", r"asks for past_key_values; given are"),
                              ("input_ids", "logits", r"gives logits: none is token states")):  # fmt: skip
        ops = onnx.OnnxOps()
        output = ops.node("Cast", onnx.Node(ops, given), to=onnx.element("F32"))
        inputs = [onnx.onnx.helper.make_tensor_value_info(given, onnx.element("I64"), ["b", "t"])]
        (other / "model.onnx").write_bytes(onnx.assemble(ops, inputs, {made: output}, []).SerializeToString())
        with pytest.raises(UnsupportedModel, match=text):
            load(other, "model.onnx")


def test_spaces_saving_and_copies(folder: Path, tmp_path: Path, wanted: Any) -> None:
    """Another file is another space; it has no weights that could be saved; it travels as its path."""
    models = [load(folder, name) for name in ("onnx/model.onnx", "whole.onnx", "openvino_model.xml")]
    names = {model.fingerprint for model in (*models, SentenceTransformer(folder))}
    assert len(names) == 4
    assert load(folder, "onnx/model.onnx").fingerprint == models[0].fingerprint
    with pytest.raises(UnsupportedModel, match="which has no weights to save: copy its folder"):
        models[0].save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    with pytest.raises(UnsupportedModel, match="load it without file_name"):
        vicinal.export_onnx(models[0], tmp_path / "m.onnx")
    again = pickle.loads(pickle.dumps(models[0]))
    np.testing.assert_allclose(again.encode(TEXTS), wanted, atol=1e-5)
    with models[0].start_multi_process_pool(["cpu"]) as pool:
        np.testing.assert_allclose(models[0].encode(TEXTS, pool=pool), wanted, atol=1e-5)


def test_the_peer_loads_the_same_files(folder: Path) -> None:
    """As far as names go: inputs and output are those that its loader asks for."""
    from vicinal.backends.onnx import ort

    for name in ("model.onnx", "model_quint8_avx2.onnx"):
        session = ort.InferenceSession(str(folder / "onnx" / name))
        assert [entry.name for entry in session.get_inputs()] == ["input_ids", "attention_mask", "token_type_ids"]
        assert [entry.name for entry in session.get_outputs()] == ["last_hidden_state"]


def test_stored_dtypes(folder: Path) -> None:
    assert stored_dtype(folder / "onnx" / "model.onnx") == "float32"
    assert stored_dtype(folder / "onnx" / "model_quint8_avx2.onnx") == "int8"
    assert stored_dtype(folder / "openvino" / "openvino_model.xml") == "float32"


def test_prompts_and_routes_stay(folder: Path, tmp_path: Path) -> None:
    """Pooling that leaves the prompt out, as the folder's own files say."""
    other = tmp_path / "model"
    shutil.copytree(folder, other)
    config = json.loads((other / "1_Pooling" / "config.json").read_text())
    tiny.write_json(other / "1_Pooling" / "config.json", {**config, "include_prompt": False})
    wanted = SentenceTransformer(other, backend="numpy").encode(TEXTS, prompt="the law ")
    found = load(other, "model.onnx").encode(TEXTS, prompt="the law ")
    np.testing.assert_allclose(found, wanted, atol=1e-5)
