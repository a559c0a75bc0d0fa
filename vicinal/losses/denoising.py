"""TSDAE: from the embedding of a damaged text alone, a decoder must write the whole text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vicinal.errors import InvalidData, UnsupportedModel
from vicinal.losses import citations
from vicinal.losses.base import Inputs, Loss, device_of
from vicinal.losses.features import Features


def reconstruction(logits: Tensor, ids: Tensor, padding: int) -> Tensor:
    """Cross-entropy of each next token: the mean of -log p(ids[i, t + 1] | logits[i, t]) over tokens that are no
    padding.

    Args:
        logits: (n, t - 1, vocabulary), what a decoder says after each of the tokens but the last.
        ids: (n, t).
        padding: the id that does not count.

    Returns:
        A scalar.

    Source: Wang et al. 2021, arXiv:2104.06979.
    """
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=padding)


class DenoisingAutoEncoderLoss(Loss):
    """From the embedding of a damaged text, a decoder must write the whole text (TSDAE).

    Use: texts of a domain alone, without pairs; `DenoisingAutoEncoderDataset` damages them. The decoder is thrown away.

    Source: Wang et al. 2021, arXiv:2104.06979

    Args:
        model: what to train; its first module holds a network of `transformers`.
        decoder_name_or_path: the decoder; None makes one of the encoder's kind.
        tie_encoder_decoder: the decoder shares the encoder's weights, and `decoder_name_or_path` is not used.

    Raises:
        ValueError: neither a decoder is named nor one tied.
        UnsupportedModel: the encoder's network cannot serve as a decoder, or the decoder's width is another.
    """

    inputs = Inputs(("damaged_text", "text"))
    config = "decoder_name_or_path need_retokenization"
    citation = citations.TSDAE
    autocast = True

    def __init__(self, model: Any, decoder_name_or_path: str | None = None, tie_encoder_decoder: bool = True) -> None:
        super().__init__(model)
        encoder = getattr(self.model[0], "auto_model", None)
        if encoder is None:
            raise UnsupportedModel(
                f"DenoisingAutoEncoderLoss needs a network of transformers, but the model's first module is a "
                f"{type(self.model[0]).__name__}"
            )
        if decoder_name_or_path is None and not tie_encoder_decoder:
            raise ValueError("decoder_name_or_path must name a decoder where tie_encoder_decoder=False")
        self.tokenizer_encoder = self.model.tokenizer
        if tie_encoder_decoder:
            self.decoder_name_or_path = getattr(encoder.config, "_name_or_path", "")
            self.tokenizer_decoder = self.tokenizer_encoder
            self.decoder = _decoder_like(encoder)
            self.decoder.resize_token_embeddings(encoder.get_input_embeddings().weight.shape[0])
            _tie(self.decoder, encoder)
        else:
            self.decoder_name_or_path = str(decoder_name_or_path)
            from transformers import AutoTokenizer  # here already: the encoder is of it

            self.tokenizer_decoder = AutoTokenizer.from_pretrained(decoder_name_or_path)
            self.decoder = _named(str(decoder_name_or_path), encoder.config.hidden_size)
        if self.tokenizer_decoder.pad_token is None:
            self.tokenizer_decoder.pad_token = self.tokenizer_decoder.eos_token
        self.need_retokenization = not tie_encoder_decoder and _differ(self.tokenizer_encoder, self.tokenizer_decoder)
        self.decoder.to(device=device_of(self.model), dtype=encoder.dtype)

    def targets(self, columns: Sequence[Features], labels: Any) -> Tensor:
        """The token ids of the whole texts, as the decoder's tokenizer has them; labels are ignored."""
        ids: Tensor = columns[1]["input_ids"]
        if self.need_retokenization:
            texts = self.tokenizer_encoder.batch_decode(ids, skip_special_tokens=True)
            ids = self.tokenizer_decoder(texts, padding=True, truncation=True, return_tensors="pt")["input_ids"]
        if ids.shape[1] < 2:
            raise InvalidData("every text of the batch is empty: there is no next token to predict")
        return ids.to(device_of(self.decoder))

    def embed_columns(self, columns: Sequence[Features], encode: Any) -> list[Tensor]:
        """The embeddings of the damaged texts."""
        return [self.embed(self.model, columns[0], encode)]

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings of damaged texts; `labels` are the token ids of the whole texts, (n, t)."""
        states = embeddings[0].unsqueeze(1).to(self.decoder.dtype)
        logits = self.decoder(
            input_ids=labels[:, :-1],
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:2], device=states.device),
            use_cache=False,
        ).logits
        return reconstruction(logits, labels, self.tokenizer_decoder.pad_token_id)


def _decoder_like(encoder: Any) -> Any:
    """A decoder of the encoder's kind: its head from the checkpoint where there is one, cross-attention new."""
    from transformers import AutoModelForCausalLM

    if name := getattr(encoder.config, "_name_or_path", ""):
        return _named(name, encoder.config.hidden_size)
    config = _as_decoder(encoder.config)
    try:
        return AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # transformers' own
    except ValueError as error:
        raise _no_decoder(config) from error


def _named(name: str, width: int) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = _as_decoder(AutoConfig.from_pretrained(name))
    if config.hidden_size != width:
        raise UnsupportedModel(
            f"the decoder's width is {config.hidden_size}, the encoder's {width}; they must be equal"
        )
    try:
        return AutoModelForCausalLM.from_pretrained(name, config=config)
    except ValueError as error:
        raise _no_decoder(config) from error


def _as_decoder(config: Any) -> Any:
    config = type(config).from_dict(config.to_dict())
    config.is_decoder = True
    config.add_cross_attention = True
    return config


def _no_decoder(config: Any) -> UnsupportedModel:
    return UnsupportedModel(
        f"transformers has no decoder for model_type {config.model_type!r}: name one with decoder_name_or_path and "
        "tie_encoder_decoder=False"
    )


def _tie(decoder: Any, encoder: nn.Module) -> None:
    """Give the decoder the encoder's own parameters wherever both have one of the name; cross-attention stays its own.

    Raises:
        UnsupportedModel: no name is common to both.
    """
    theirs = dict(encoder.named_parameters())
    tied = 0
    for path, module in decoder.base_model.named_modules():
        for name in list(module._parameters):
            parameter = theirs.get(f"{path}.{name}".lstrip("."))
            if parameter is not None and module._parameters[name] is not None:
                module._parameters[name] = parameter
                tied += 1
    if not tied:
        raise UnsupportedModel(f"a {type(decoder).__name__} has no weight in common with a {type(encoder).__name__}")
    decoder.tie_weights()


def _differ(encoder: Any, decoder: Any) -> bool:
    return bool(encoder.get_vocab() != decoder.get_vocab())
