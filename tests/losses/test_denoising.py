"""TSDAE against the reference, which reads its decoder from the model's folder and must be given ours."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer import losses as theirs

from tests import tiny
from tests.losses.models import assert_same, columns, run, sentence_model
from vicinal import losses
from vicinal.errors import InvalidData, UnsupportedModel
from vicinal.losses.denoising import reconstruction


def fresh(seed: int = 5) -> Any:
    """A model of its own: the losses change it."""
    return copy.deepcopy(sentence_model(seed))


def pair(decoder: str | None, tied: bool) -> tuple[Any, Any, Any]:
    """Both losses around one model, with equal decoders."""
    model = fresh()
    reference = theirs.DenoisingAutoEncoderLoss(model, decoder, tied).double().eval()
    own = losses.DenoisingAutoEncoderLoss(model, decoder, tied).double().eval()
    own.decoder.load_state_dict(reference.decoder.state_dict())
    model.double()
    return reference, own, model


def test_a_tied_decoder() -> None:
    reference, own, model = pair(None, True)
    # Both decoders share the one encoder; what they do not share was copied.
    shared = {id(parameter) for parameter in model.parameters()}
    ties = [{id(p) for p in loss.decoder.parameters()} & shared for loss in (reference, own)]
    assert ties[0] == ties[1]
    assert len(ties[1]) > 30
    assert_same(reference, own, model, columns(2), None)


def test_a_decoder_of_its_own() -> None:
    folder = str(tiny_decoder())
    reference, own, model = pair(folder, False)
    assert not {id(p) for p in own.decoder.parameters()} & {id(p) for p in model.parameters()}
    assert own.get_config_dict() == reference.get_config_dict()
    assert_same(reference, own, model, columns(2), None)


def tiny_decoder(vocabulary: tuple[str, ...] = tiny.VOCABULARY, **config: Any) -> Any:
    import tempfile
    from pathlib import Path

    folder = tiny.write_bert(Path(tempfile.mkdtemp()) / "decoder", config=config)
    tiny.write_json(folder / "tokenizer.json", tiny.wordpiece(vocabulary))
    return folder


def test_a_decoder_with_other_tokens_reads_the_texts_anew() -> None:
    words = (*tiny.SPECIAL, *tiny.VOCABULARY[:4:-1])
    own = losses.DenoisingAutoEncoderLoss(fresh(), str(tiny_decoder(words)), tie_encoder_decoder=False)
    assert own.need_retokenization
    given = columns(2)
    ids = own.targets(given, None)
    assert own.tokenizer_decoder.batch_decode(ids, skip_special_tokens=True) == own.tokenizer_encoder.batch_decode(
        given[1]["input_ids"], skip_special_tokens=True
    )
    assert not torch.equal(ids, given[1]["input_ids"])
    assert torch.isfinite(own.double()(given))


def test_tying_keeps_what_the_encoder_has_learned() -> None:
    model = fresh()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.25)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    own = losses.DenoisingAutoEncoderLoss(model)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    _, gradients = run(own, model, columns(2), None)
    words = next(name for name in gradients if name.endswith("word_embeddings.weight"))
    assert gradients[words].abs().sum(1).count_nonzero() > 30  # as the decoder's output layer, every word learns


def test_the_embedding_decides_and_padding_does_not() -> None:
    own = losses.DenoisingAutoEncoderLoss(fresh()).eval()
    given = columns(2)
    ids = own.targets(given, None)
    embeddings = own.embed_columns(given, own.encode)
    value = own.compute_loss_from_embeddings(embeddings, ids)
    assert value != own.compute_loss_from_embeddings([embeddings[0].flip(0)], ids)
    wider = torch.nn.functional.pad(ids, (0, 3), value=own.tokenizer_decoder.pad_token_id)
    torch.testing.assert_close(own.compute_loss_from_embeddings(embeddings, wider), value)


def test_reconstruction_by_hand() -> None:
    logits = torch.randn(2, 2, 5, dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([[1, 2, 3], [1, 4, 0]])
    chances = logits.softmax(2)
    wanted = -(chances[0, 0, 2].log() + chances[0, 1, 3].log() + chances[1, 0, 4].log()) / 3
    torch.testing.assert_close(reconstruction(logits, ids, 0), wanted)
    assert torch.autograd.gradcheck(lambda x: reconstruction(x, ids, 0), logits)


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="decoder_name_or_path must name a decoder where tie_encoder_decoder=False"):
        losses.DenoisingAutoEncoderLoss(fresh(), tie_encoder_decoder=False)
    wide = str(tiny_decoder(hidden_size=24))
    with pytest.raises(UnsupportedModel, match="the decoder's width is 24, the encoder's 22"):
        losses.DenoisingAutoEncoderLoss(fresh(), wide, tie_encoder_decoder=False)
    own = losses.DenoisingAutoEncoderLoss(fresh())
    empty = {"input_ids": torch.tensor([[2]]), "attention_mask": torch.tensor([[1]])}
    with pytest.raises(InvalidData, match="every text of the batch is empty"):
        own([empty, empty])
    with pytest.raises(InvalidData, match=r"takes 2 columns of texts, \(damaged_text, text\), but got 1"):
        own(columns(1))
