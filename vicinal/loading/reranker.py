"""A language model that scores a pair by the logit of a token ("yes" against "no"): Qwen3-Reranker and its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from vicinal import networks
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.loading.modules import Reading, transformer
from vicinal.loading.spec import Chat, LogitScore, Route, Transformer
from vicinal.loading.tokenizer import chat_template
from vicinal.text import chat as chats

TASK = "text-generation"
_YES, _NO = "yes", "no"
_FLAT = ("apertus", "deepseek_v3", "gpt_oss", "seed_oss")
_PARTS = ("content[0]", ".type", "'type'", '"type"', "item.type", "message.content[")
"""A template that has one of these takes contents as lists of parts."""


def read_route(reading: Reading, at: str, score_at: str | None, template: str | None) -> Route:
    """The network in the subfolder `at`, and which logits score.

    Args:
        score_at: where the LogitScore's configuration is; None takes the tokens "yes" and "no".
        template: replaces the folder's own chat template.

    Raises:
        UnsupportedModel: the network foretells no tokens, or the chat template does not show a query and a document.
    """
    body = transformer(reading, at, tasks=(TASK,))
    found = networks.causal(body.architecture)
    if found is None:
        raise UnsupportedModel(f"{reading.folder.root}: the network {body.architecture!r} gives no logits here")
    body = replace(body, chat=read_chat(reading, at, body, template, needed=True))
    network = body.network
    true, false = _yes_and_no(reading, at) if score_at is None else _stated(reading, score_at)
    for token in (true, false):
        if token is not None and not 0 <= token < network.vocab_size:
            raise DamagedModel(f"{reading.folder.root}: token {token} of its score is none of {network.vocab_size}")
    score = LogitScore(true, false, network.vocab_size, network.hidden_size, found.tied(body.config))
    if score.tied:
        _same_rows(reading, at, score)
    return Route((body, score), (at, at), reading.limits[at])


def _stated(reading: Reading, at: str) -> tuple[int, int | None]:
    """The tokens of a LogitScore's configuration."""
    config, where = reading.folder.mapping(f"{at}/config.json"), reading.folder.path(f"{at}/config.json")
    true, false = config.get("true_token_id"), config.get("false_token_id")
    if type(true) is not int or type(false) not in (int, type(None)):
        raise DamagedModel(
            f"{where}: true_token_id and false_token_id must be numbers of tokens, not {true!r}, {false!r}"
        )
    if (source := config.get("module_input_name", "causal_logits")) != "causal_logits":
        raise UnsupportedModel(f"{where}: module_input_name {source!r} is not handled here")
    return true, false


def _yes_and_no(reading: Reading, at: str) -> tuple[int, int]:
    tokenizer = reading.tokenizers[at].tokenizer
    true, false = tokenizer.token_to_id(_YES), tokenizer.token_to_id(_NO)
    if true is None or false is None:
        raise UnsupportedModel(
            f"{reading.folder.root} is a causal language model whose tokenizer has no tokens {_YES!r} and {_NO!r} to "
            "score by; a LogitScore in its modules.json says which ones to take"
        )
    return true, false


def _same_rows(reading: Reading, at: str, score: LogitScore) -> None:
    """A checkpoint that holds the tied matrix twice must hold it twice alike."""
    tables = [reading.tensors.get(f"{at}/{name}.weight") for name in ("embed_tokens", "lm_head")]
    if any(table is None or table.shape != (score.tokens, score.width) for table in tables):
        return  # there is one, or what is wrong with it is said where it is read
    rows = np.array([score.true_token, score.true_token if score.false_token is None else score.false_token])
    one, other = (table.rows(rows) for table in tables if table is not None)
    if not np.array_equal(one, other):
        raise DamagedModel(
            f"{reading.folder.root}: tie_word_embeddings is true, but embed_tokens.weight and lm_head.weight differ"
        )


def read_chat(reading: Reading, at: str, body: Transformer, template: str | None, needed: bool) -> Chat | None:
    """The chat that pairs are put into; None where the tokenizer joins them.

    That is where the sentence configuration says so, and where none says anything and there is a template.

    Args:
        template: replaces the folder's own.
        needed: whether a template without places for query and document is refused, or left alone.

    Raises:
        UnsupportedModel: it is refused, or given options that are not handled.
    """
    sentence = reading.folder.sentence_config(at)
    modalities = _object(reading, sentence, "modality_config")
    if "message" not in modalities and (modalities or reading.folder.has("modules.json")):
        if template is not None:
            raise UnsupportedModel(f"{reading.folder.root} does not read pairs in a chat: leave chat_template out")
        return None
    source = template or chat_template(reading.folder, at, reading.tokenizers[at].config)
    if source is None:
        return None
    form = _object(reading, modalities, "message").get("format", "auto")
    if form == "auto":
        parts = any(sign in source for sign in _PARTS) and body.architecture not in _FLAT
        form = "structured" if parts else "flat"
    chat = Chat(source, _marks(reading, at), _options(reading, sentence), form == "structured")
    if missing := chats.lacks(chat):
        if not needed and template is None:
            return None
        raise UnsupportedModel(
            f"{reading.folder.root}: its chat template cannot be given a pair ({missing}). One that shows the messages "
            'of the roles "query" and "document" does: put it into the folder as chat_template.jinja, or give it as '
            'processor_kwargs={"chat_template": ...}'
        )
    return chat


def _marks(reading: Reading, at: str) -> dict[str, str]:
    """Special tokens by name, as templates know them."""
    own = reading.tokenizers[at].config
    file = f"{at}/special_tokens_map.json" if at else "special_tokens_map.json"
    stated: Mapping[str, Any] = {**reading.folder.optional(file), **own}
    texts = {key: value.get("content") if isinstance(value, dict) else value for key, value in stated.items()}
    return {key: text for key, text in texts.items() if key.endswith("_token") and isinstance(text, str)}


def _object(reading: Reading, config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object of the sentence configuration; {} where it says nothing."""
    value = config.get(key) or {}
    if not isinstance(value, Mapping):
        raise DamagedModel(
            f"{reading.folder.root}: {key} of its sentence configuration must be an object, not {value!r}"
        )
    return value


def _options(reading: Reading, sentence: Mapping[str, Any]) -> dict[str, Any]:
    """What the template is given besides; other ways to steer the tokenizer are refused."""
    given = _object(reading, sentence, "processing_kwargs")
    options = dict(_object(reading, given, "chat_template"))
    steering = {"padding", "truncation", "max_length", "return_tensors", "restore_suffix"} & set(options)
    if strange := [*(set(given) - {"chat_template"}), *sorted(steering)]:
        raise UnsupportedModel(f"{reading.folder.root}: processing_kwargs state {strange[0]!r}, which is not handled")
    return options
