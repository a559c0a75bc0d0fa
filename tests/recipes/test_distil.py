"""Smaller models: fewer layers, fewer dimensions, no network."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import tiny
from tests.recipes.models import QUICK, deep_teacher, likeness, texts
from vicinal import SentenceTransformer
from vicinal.errors import InvalidData, UnsupportedModel
from vicinal.recipes import static
from vicinal.recipes.distil import distil, keep_layers, principal_axes, reduce_dimensions, spread
from vicinal.recipes.static import distil_static
from vicinal.recipes.teaching import LengthBatches, TaughtRows

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return deep_teacher(tmp_path_factory.mktemp("teacher"))


def nearness(a: SentenceTransformer, b: SentenceTransformer) -> float:
    probe = texts(40, 9)
    return float((a.encode(probe) * b.encode(probe)).sum(1).mean())


def test_layers_are_kept_as_they_are(teacher: SentenceTransformer, tmp_path: Path) -> None:
    kept = keep_layers(teacher, [1, 3])
    tensors = tiny.bert_tensors(layers=4)
    names = {f"encoder.layer.{old}.": f"encoder.layer.{new}." for new, old in enumerate((1, 3))}
    chosen = {name: array for name, array in tensors.items() if not name.startswith("encoder.layer.")}
    for old, new in names.items():
        chosen |= {new + name.removeprefix(old): array for name, array in tensors.items() if name.startswith(old)}
    expected = SentenceTransformer(tiny.write_bert(tmp_path / "expected", tensors=chosen), dtype="float32")
    kept.save(tmp_path / "kept")
    probe = texts(9, 1)
    np.testing.assert_allclose(kept.encode(probe), expected.encode(probe), atol=1e-5)
    np.testing.assert_allclose(
        SentenceTransformer(tmp_path / "kept", dtype="float32").encode(probe), expected.encode(probe), atol=1e-5
    )
    assert teacher.trainable().network.config.num_hidden_layers == 4
    teacher.refresh()


def test_what_has_no_such_layers_is_refused(teacher: SentenceTransformer, tmp_path: Path) -> None:
    for layers in ([0, 4], [2, 1], [1, 1], []):
        with pytest.raises(ValueError, match=r"layers must be different numbers from 0 to 3, rising, not \["):
            keep_layers(teacher, layers)
    with pytest.raises(ValueError, match="can keep 1 to 4 of them, not 5"):
        keep_layers(teacher, 5)
    with pytest.raises(UnsupportedModel, match="has no network of layers"):
        keep_layers(SentenceTransformer(tiny.write_static(tmp_path)), 1)


@given(st.integers(1, 40), st.data())
def test_spread_rises_from_first_to_last(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, total))
    chosen = spread(count, total)
    assert len(set(chosen)) == count
    assert sorted(chosen) == chosen
    assert chosen[-1] == total - 1
    assert count == 1 or chosen[0] == 0


def test_a_student_learns_the_teachers_vectors(teacher: SentenceTransformer, tmp_path: Path) -> None:
    learn = replace(QUICK, epochs=2, batch_size=16, learning_rate=3e-3, save_every=100)
    said: list[str] = []
    task = likeness()
    outcome = distil(
        teacher, texts(200), tmp_path / "out", layers=2, schedule=learn, batch_tokens=200, tasks=[task], say=said.append
    )
    student = SentenceTransformer(outcome.folder, dtype="float32")
    assert nearness(student, teacher) > 0.95 > nearness(keep_layers(teacher, 2), teacher)
    assert [row.task for row in outcome.rows] == ["likeness"]
    assert outcome.rows[0].before.value == task.measure(teacher).metrics["spearman"].value
    assert outcome.rows[0].after.value == pytest.approx(task.measure(student).metrics["spearman"].value, abs=1e-6)
    with (tmp_path / "out/training/comparison.csv").open(newline="") as file:
        assert float(next(csv.DictReader(file))["after"]) == outcome.rows[0].after.value
    assert said[-1] == str(outcome)
    assert "| likeness | spearman |" in said[-1]
    assert not (tmp_path / "out/training/checkpoints").exists()
    with pytest.raises(InvalidData, match="holds a finished run"):
        distil(teacher, texts(200), tmp_path / "out", layers=2)


def test_a_student_of_the_callers_may_be_narrower_not_wider(teacher: SentenceTransformer, tmp_path: Path) -> None:
    narrow = reduce_dimensions(teacher, texts(100), 5, tmp_path / "narrow").folder
    student = SentenceTransformer(narrow, dtype="float32", threads=1)
    with pytest.raises(ValueError, match="the student has 22 dimensions and the teacher 5"):
        distil(student, texts(20), tmp_path / "no", student=teacher)
    with pytest.raises(ValueError, match="give either student="):
        distil(teacher, texts(20), tmp_path / "no")
    out = distil(teacher, texts(50), tmp_path / "out", student=student, schedule=QUICK).folder
    assert SentenceTransformer(out).get_embedding_dimension() == 5
    assert not (tmp_path / "no").exists()


def test_what_is_measured_is_not_trained_on(teacher: SentenceTransformer, tmp_path: Path) -> None:
    task = likeness()
    with pytest.raises(InvalidData, match=r"'texts', row 20: .* stands in what the model is measured on, 'likeness'"):
        distil(teacher, [*texts(20), task.texts[3].upper()], tmp_path / "out", layers=2, tasks=[task])
    assert not (tmp_path / "out").exists()


# ---- dimensions ----------------------------------------------------------------------------------------------------


def test_the_axes_keep_as_much_of_the_dot_products_as_any(teacher: SentenceTransformer, tmp_path: Path) -> None:
    sample = texts(150)
    out = reduce_dimensions(teacher, sample, 6, tmp_path / "out").folder
    x = teacher.encode(sample)
    _, _, right = np.linalg.svd(x.astype(np.float64), full_matrices=False)  # Eckart and Young: the best of rank 6
    best = x @ right[:6].T
    best /= np.linalg.norm(best, axis=1, keepdims=True)
    made = SentenceTransformer(out, dtype="float32").encode(sample)
    np.testing.assert_allclose(made @ made.T, best @ best.T, atol=1e-4)
    assert principal_axes(x, 3).shape == (22, 3)
    with pytest.raises(ValueError, match="dims must be from 1 to 21"):
        reduce_dimensions(teacher, sample, 22, tmp_path / "no")
    with pytest.raises(InvalidData, match="6 axes need more than 6 different texts, but there are 2"):
        reduce_dimensions(teacher, ["a", "b", "a"], 6, tmp_path / "no")


# ---- batches -------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(st.integers(0, 900), min_size=1, max_size=80), st.integers(1, 20), st.integers(10, 400))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], size: int, tokens: int) -> None:
    data = TaughtRows(["x" * n for n in lengths], np.zeros((len(lengths), 2)))
    sampler = LengthBatches(data, size, seed=1, tokens=tokens)
    batches = list(sampler)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(sampler) == len(batches)
    for batch in batches:
        assert 1 <= len(batch) <= size
        longest = max(sampler.lengths[batch])
        assert len(batch) == 1 or len(batch) * longest <= tokens
    assert list(sampler) == batches
    sampler.set_epoch(1)
    assert sorted(row for batch in sampler for row in batch) == list(range(len(lengths)))


# ---- static --------------------------------------------------------------------------------------------------------


def test_a_static_model_comes_near_its_teacher(teacher: SentenceTransformer, tmp_path: Path) -> None:
    said: list[str] = []
    out = distil_static(teacher, texts(1200), tmp_path / "out", dims=9, first_steps=30, steps=40, say=said.append)
    model = SentenceTransformer(out.folder)
    assert model.get_embedding_dimension() == 9
    near = [float(line.split(": ")[1].split()[0]) for line in said if "nearest held-out" in line]
    assert len(near) == 3
    assert near[2] > near[0]
    widths = model.encode(texts(200, 3)).var(0)
    assert widths[0] > widths[-1], "the leading dimensions carry most"
    assert not (tmp_path / "out/training/checkpoints").exists()


def test_gradients_are_those_of_the_losses() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    z, t = (static.unit(rng.standard_normal((6, 4))) for _ in range(2))
    x = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    rows = np.arange(6)
    (1 - (x * torch.tensor(t)).sum(1)).mean().backward()
    np.testing.assert_allclose(static.towards(t)(z, rows), x.grad, rtol=1e-5)
    x.grad = None
    off = ~torch.eye(6, dtype=torch.bool)

    def nearness(v: object) -> object:
        return (v @ v.T / 0.5).masked_fill(~off, -torch.inf).softmax(1)  # type: ignore[operator,attr-defined]

    wanted = nearness(torch.tensor(np.float16(t).astype(np.float64)))
    (-(wanted[off] * nearness(x)[off].log()).sum() / 6).backward()
    found = static.alike(t.astype(np.float16), 0.5)(z, rows) / 0.5
    np.testing.assert_allclose(found, x.grad, rtol=1e-3, atol=1e-5)


def test_a_fit_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "_KEEP", 5)
    rng = np.random.default_rng(0)
    tokenizer = SentenceTransformer(tiny.write_static(tmp_path / "s")).tokenizer
    bags = static.bags(tokenizer, [*texts(60), ""])
    np.testing.assert_allclose(bags[:60].sum(1), 1, rtol=1e-6)
    assert bags[60].nnz == 0
    table = rng.standard_normal((bags.shape[1], 4)).astype(np.float32)
    loss = static.towards(static.unit(rng.standard_normal((61, 4))))
    whole = static.fit(table, bags, loss, 20, 16, 0.01)

    calls = 0

    def stops(z: object, batch: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 13:
            raise KeyboardInterrupt
        return loss(z, batch)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        static.fit(table, bags, stops, 20, 16, 0.01, tmp_path / "state.npz")  # type: ignore[arg-type]
    np.testing.assert_array_equal(static.fit(table, bags, loss, 20, 16, 0.01, tmp_path / "state.npz"), whole)
