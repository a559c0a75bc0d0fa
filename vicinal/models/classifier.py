"""Networks of `transformers` that score texts and pairs: by a classification head, or by the logit of a token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vicinal import networks
from vicinal.backends.torch.auto import CAUSAL, CLASSIFIER, auto_model
from vicinal.errors import UnsupportedModel
from vicinal.loading import spec
from vicinal.loading.tokenizer import TokenizerFile
from vicinal.loading.weights import Tensor
from vicinal.models.module import Features, kept
from vicinal.models.packing import Packing, packed_inputs, prepare, unpacking
from vicinal.models.transformer import Transformer
from vicinal.models.vocabulary import Vocabulary
from vicinal.text.chat import rendered, tail
from vicinal.text.inputs import checked


class PairScorer(Transformer):
    """Adds scores (B, labels) of texts or pairs; pairs are put into a chat where the model reads them in one."""

    _task: str
    """Which class of `transformers` it is."""
    _chat: spec.Chat | None

    def _set_up(
        self, form: spec.Transformer, tensors: Mapping[str, Tensor], file: TokenizerFile, root: Path | None,
        trusted: bool, model_kwargs: Mapping[str, Any],
    ) -> None:  # fmt: skip
        nn.Module.__init__(self)
        prefix, outside = self._names(form.architecture)
        named = {name if name.startswith(outside) else prefix + name: t for name, t in tensors.items()}
        options = {key: value for key, value in model_kwargs.items() if key != "dtype"}
        dtype = model_kwargs.get("dtype", "float32")
        self.model = auto_model(
            form.config, named, dtype, root=root, trust_remote_code=trusted, task=self._task, **options
        )
        self._vocabulary = Vocabulary(file, form.config, framed=form.chat is None)
        prepare(self.model)
        self._stated, self._chat = dict(form.config), form.chat

    def _names(self, architecture: str) -> tuple[str, tuple[str, ...]]:
        """What stands before the body's tensors in a checkpoint, and beginnings of names that it does not stand
        before."""
        found = networks.classifying(architecture)
        if found is None:
            raise UnsupportedModel(f"the network {architecture!r} has no classification head here")
        return found.PREFIX.format(model_type=architecture), found.HEAD

    @property
    def num_labels(self) -> int:
        """Scores of a pair."""
        raise NotImplementedError(f"{type(self).__name__} must say num_labels")

    def head(self) -> spec.Classifier | spec.LogitScore:
        """What makes the scores, as data."""
        raise NotImplementedError(f"{type(self).__name__} must define head()")

    def form(self) -> spec.Module:
        """What it is now."""
        found = super().form()
        assert isinstance(found, spec.Transformer)
        return replace(found, chat=self._chat)

    def tensors(self) -> dict[str, Tensor]:
        """The present weights, by the names that networks read: the body's without its prefix."""
        prefix, outside = self._names(str(self.model.config.model_type))
        return {
            (name if name.startswith(outside) else name.removeprefix(prefix)): tensor
            for name, tensor in super().tensors().items()
        }

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **options: Any) -> Features:
        """Pairs, or texts, to input_ids, attention_mask and token_type_ids (B, T); cut to max_seq_length."""
        if self._chat is None:
            return super().preprocess(inputs, prompt, **options)
        tokenize, prompt = self.text_tokenizer(), prompt or ""
        texts = rendered(self._chat, checked(list(inputs), 0), prompt)
        end = tail(self._chat, tokenize.backend, prompt)
        return self.batch(tokenize(texts, self.max_seq_length, tail=end))

    def _given(self, features: Features) -> dict[str, Any]:
        return {name: features[name] for name in self._arguments() if name in features}


class SequenceClassifier(PairScorer):
    """Scores (B, labels) are what the network's own classification head makes of a text or pair."""

    _task = CLASSIFIER

    @property
    def num_labels(self) -> int:
        """Scores of a pair."""
        return int(self.model.config.num_labels)

    def head(self) -> spec.Classifier:
        """The head as data."""
        config = self._described()
        found = networks.classifying(str(config["model_type"]))
        assert found is not None
        return spec.Classifier(str(config["model_type"]), self.num_labels, found.parse_head(config))

    def forward(self, features: Features, **options: Any) -> Features:
        """Adds scores (B, labels)."""
        given = self._given(features)
        if options or not self.packs(features):
            return kept(features, scores=self.model(**given, **options, return_dict=True).logits)
        packing = features.get("packing") or Packing.of(given["attention_mask"])
        config = self.model.config
        given = packed_inputs(given, packing, config.model_type, config.pad_token_id)
        with unpacking(self._network(), packing):
            return kept(features, scores=self.model(**given, return_dict=True).logits)


class LogitScorer(PairScorer):
    """Scores (B, 1) are the logit of one token after the last one, less that of another: see `spec.LogitScore`."""

    _task = CAUSAL
    _score: spec.LogitScore

    def _names(self, architecture: str) -> tuple[str, tuple[str, ...]]:
        return super()._names(architecture)[0], ("lm_head.",)

    @property
    def num_labels(self) -> int:
        """Scores of a pair."""
        return 1

    def head(self) -> spec.LogitScore:
        """Which tokens score, as data."""
        return replace(self._score, tokens=int(self.model.get_output_embeddings().weight.shape[0]))

    def tensors(self) -> dict[str, Tensor]:
        """The present weights; a tied matrix of logits is the table of words, and stands once."""
        found = super().tensors()
        if self._score.tied:
            found.pop("lm_head.weight", None)
        return found

    def forward(self, features: Features, **options: Any) -> Features:
        """Adds scores (B, 1): two rows of the matrix of logits are all that is computed with."""
        network = self._network()
        states = network.base_model(**self._given(features), **options, return_dict=True)[0]
        last = features["attention_mask"].sum(1) - 1
        ends = states[torch.arange(len(last), device=states.device), last.clamp(min=0)]
        rows = network.get_output_embeddings().weight
        row = rows[self._score.true_token]
        if self._score.false_token is not None:
            row = row - rows[self._score.false_token]
        return kept(features, scores=ends @ row[:, None])

    @classmethod
    def scoring(cls, score: spec.LogitScore, *given: Any) -> LogitScorer:
        """As `of` makes it, scoring by these tokens."""
        made = cls.of(*given)
        made._score = score
        return made
