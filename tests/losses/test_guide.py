"""The guide: out of the optimizer's reach, without dropout, whatever its tokenizer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from tests import tiny
from tests.losses.models import ANCHORS, columns, sentence_model
from vicinal import SentenceTransformer, losses
from vicinal.errors import InvalidData
from vicinal.losses.base import Caching
from vicinal.losses.guide import Guide


def test_it_is_not_trained_and_keeps_its_mode() -> None:
    guide = copy.deepcopy(sentence_model(1)).train()
    loss = losses.GISTEmbedLoss(copy.deepcopy(sentence_model()), guide).train()
    assert loss.guide is guide
    assert not {id(p) for p in guide.parameters()} & {id(p) for p in loss.parameters()}
    first, second = (loss.targets(columns(2), None) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))  # no dropout
    assert not first[0].requires_grad
    assert guide.training


@pytest.mark.parametrize("caching", [None, Caching(4), Caching(1, 9)])
def test_parts_are_the_whole(caching: Any) -> None:
    guide = Guide(sentence_model(1), sentence_model())
    (column,) = columns(1)
    torch.testing.assert_close(guide.embed(column, caching), sentence_model(1)(dict(column))["sentence_embedding"])


def test_vicinals_own_model_as_a_guide_with_other_tokens(tmp_path: Any) -> None:
    words = (*tiny.SPECIAL, *tiny.VOCABULARY[:4:-1])
    folder = tiny.write_bert(tmp_path / "guide", settings={"prompts": {"x": "law "}, "default_prompt_name": "x"})
    tiny.write_json(folder / "tokenizer.json", tiny.wordpiece(words))
    own = SentenceTransformer(folder, dtype="float32")
    found = Guide(own, sentence_model()).embed(columns(1)[0], None)
    torch.testing.assert_close(found, torch.from_numpy(own.encode(ANCHORS, prompt="")), atol=1e-5, rtol=1e-5)
    losses.GISTEmbedLoss(sentence_model(), own)(columns(2)).backward()
    sentence_model().zero_grad(set_to_none=True)


def test_a_shorter_guide_reads_the_texts_anew() -> None:
    guide = copy.deepcopy(sentence_model(1))
    guide.max_seq_length = 5
    found = Guide(guide, sentence_model()).embed(columns(1)[0], None)
    wanted = guide.encode(ANCHORS, convert_to_tensor=True).float()
    torch.testing.assert_close(found, wanted)


def test_texts_that_cannot_be_read_back() -> None:
    class Silent(torch.nn.Module):
        pass

    with pytest.raises(
        InvalidData, match="the guide has another tokenizer than the model, so the texts must be read back"
    ):
        Guide(sentence_model(), Silent())
