"""A hub on the loopback interface, as much of it as fetching a model asks for, and a model to put there."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest

# status, body, headers, and the length that a HEAD states, -1 for the body's own
Answer = tuple[int, bytes, dict[str, str], int]

_VARIABLES = (
    "SENTENCE_TRANSFORMERS_HOME HF_HUB_CACHE HUGGINGFACE_HUB_CACHE HF_HOME XDG_CACHE_HOME VICINAL_CACHE HF_TOKEN "
    "HF_HUB_OFFLINE TRANSFORMERS_OFFLINE HF_ENDPOINT"
)


def isolate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Put every cache below `tmp_path`, the working folder too, and give the hub cache's folder."""
    for variable in _VARIABLES.split():
        monkeypatch.delenv(variable, raising=False)
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("VICINAL_CACHE", str(tmp_path / "vicinal"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "hf" / "hub"


def safetensors(**tensors: np.ndarray) -> bytes:
    """A file of float32 and int64 tensors, written from the format's description."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        dtype = {"float32": "F32", "int64": "I64", "float16": "F16"}[tensor.dtype.name]
        header[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [len(data), len(data) + tensor.nbytes]}
        data += tensor.tobytes()
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def model_files() -> dict[str, bytes]:
    """The files that make a sentence-transformers model, none of them of any use."""
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
        {"idx": 3, "name": "3", "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    weights = np.arange(3000, dtype=np.float32)
    return {
        "modules.json": json.dumps(modules).encode(),
        "config.json": b'{"model_type": "bert"}',
        "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
        "2_Dense/config.json": b'{"in_features": 2}',
        "2_Dense/model.safetensors": safetensors(weight=weights[:4]),
        "tokenizer.json": b'{"model": {}}',
        "vocab.txt": b"[PAD]\n",
        "README.md": b"---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n",
        "model.safetensors": safetensors(weight=weights, ids=np.arange(5)),
    }


UNNEEDED = {
    "pytorch_model.bin": b"pickle",
    "tf_model.h5": b"tensorflow",
    "flax_model.msgpack": b"flax",
    "rust_model.ot": b"rust",
    "onnx/model.onnx": b"onnx",
    "onnx/config.json": b"{}",
    "openvino/openvino_model.xml": b"<xml/>",
    "checkpoint-500/model.safetensors": b"older",
    "checkpoint-500/config.json": b"{}",
    "training_args.bin": b"pickle",
    "trainer_state.json": b"{}",
    "train_script.py": b"raise SystemExit",
    "picture.png": b"png",
    ".gitattributes": b"",
    "requirements.txt": b"",
}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder, and give the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@dataclass
class Repository:
    """What the hub has under one name.

    Attributes:
        commits: files by commit.
        references: commits by branch or tag.
        token: whoever has it may see the repository; None is everybody.
        gated: everybody sees what is there, nobody may fetch it.
        refuses: answers with this status whoever asks for a file.
        cut: files by name that arrive with this many bytes, and without a word of that.
        messages: of the commits that were sent, in order.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    gated: bool = False
    refuses: int | None = None
    cut: dict[str, int] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], reference: str = "main") -> str:
        """Add a commit, under a name, and give its hash."""
        digest = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[digest] = files
        self.references[reference] = digest
        return digest


class Hub:
    """Answers requests while the `with` block lasts.

    Attributes:
        repositories: by name.
        log: "GET /path" of every request, in order.
        agents: the User-Agent of each.
        everywhere: where given, the answer to whatever is asked.
        first: answers to the first requests, whatever they ask.
        listing: what /api/models has, `page` entries at a time.
        queries: of each request, as it came.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.log: list[str] = []
        self.agents: list[str] = []
        self.everywhere: Answer | None = None
        self.first: list[Answer] = []
        self.listing: list[dict[str, object]] = []
        self.page = 100
        self.queries: list[dict[str, list[str]]] = []
        hub = self

        class Handler(_Handler):
            def respond(self) -> None:
                hub.log.append(f"{self.command} {urlsplit(self.path).path}")
                hub.agents.append(self.headers.get("User-Agent", ""))
                hub.queries.append(parse_qs(urlsplit(self.path).query))
                token = self.headers.get("Authorization")
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                given = hub.first.pop(0) if hub.first else hub.everywhere
                status, body, headers, length = given or (
                    receive(hub, self.path, token, sent) if self.command == "POST" else answer(hub, self.path, token)
                )
                if wanted := self.headers.get("Range"):  # "bytes=1000-", where a download is taken up again
                    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                    headers |= {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
                    status, body = 206, body[start:]
                self.send(status, body, headers, length)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fetched(self) -> list[str]:
        """Names of the files whose contents were asked for, in order."""
        return [entry.split("/", 5)[5] for entry in self.log if entry.startswith("GET /") and "/resolve/" in entry]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def respond(self) -> None:
        raise NotImplementedError

    do_GET = do_HEAD = do_POST = lambda self: self.respond()

    def send(self, status: int, body: bytes, headers: Mapping[str, str], length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        whole = self.command == "HEAD" and length >= 0
        self.send_header("Content-Length", str(length if whole else len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def listed(hub: Hub, start: int) -> Answer:
    """A page of the listing, with the way to the next one."""
    headers, end = {"Content-Type": "application/json"}, start + hub.page
    if end < len(hub.listing):
        headers["Link"] = f'<{hub.url}/api/models?cursor={end}>; rel="next"'
    return 200, json.dumps(hub.listing[start:end]).encode(), headers, -1


def answer(hub: Hub, path: str, authorization: str | None) -> Answer:
    """What the public hub would answer to a request."""
    parts = unquote(urlsplit(path).path).strip("/").split("/")
    query = parse_qs(urlsplit(path).query)
    if parts == ["api", "models"]:
        return listed(hub, int(query.get("cursor", ["0"])[0]))
    listing = parts[:2] == ["api", "models"]
    if listing:
        name, _, revision = "/".join(parts[2:]).partition("/revision/")
    else:
        name, revision = "/".join(parts[:2]), parts[3] if parts[2:3] == ["resolve"] else ""
    repository = hub.repositories.get(name)
    if authorization == "Bearer wrong":
        return 401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"}, -1
    if repository is None or (repository.token and authorization != f"Bearer {repository.token}"):
        return 404 if authorization else 401, b"{}", {"X-Error-Code": "RepoNotFound"}, -1
    commit = repository.references.get(revision, revision)
    if commit not in repository.commits:
        return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}, -1
    files = repository.commits[commit]
    if listing:
        sizes = {file: {"size": len(content)} if "blobs" in query else {} for file, content in files.items()}
        siblings = [{"rfilename": file, **size} for file, size in sizes.items()]
        info = {"id": name, "modelId": name, "sha": commit, "siblings": siblings}
        return 200, json.dumps(info).encode(), {"Content-Type": "application/json"}, -1
    if repository.gated:
        return 403 if authorization else 401, b"{}", {"X-Error-Code": "GatedRepo"}, -1
    if repository.refuses:
        return repository.refuses, b"{}", {}, -1
    file = "/".join(parts[4:])
    if file not in files:
        return 404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, -1
    content = files[file]
    headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": commit}
    return 200, content[: repository.cut.get(file)], headers, len(content)


def receive(hub: Hub, path: str, authorization: str | None, body: bytes) -> Answer:
    """What the public hub would answer to what is sent to it: repositories, branches and commits of small files."""
    parts = unquote(urlsplit(path).path).strip("/").split("/")

    def reply(status: int, value: object) -> Answer:
        return status, json.dumps(value).encode(), {"Content-Type": "application/json"}, -1

    if authorization != "Bearer right":
        return 401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"}, -1
    if parts == ["api", "validate-yaml"]:
        return reply(200, {"errors": [], "warnings": []})
    if parts == ["api", "repos", "create"]:
        wanted = json.loads(body)
        name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        if name in hub.repositories:
            return reply(409, {"error": "You already created this model repo", "url": f"{hub.url}/{name}"})
        hub.repositories[name] = Repository(
            token="right" if wanted.get("private") or wanted.get("visibility") == "private" else None
        )
        hub.repositories[name].commit({".gitattributes": b""})
        return reply(200, {"url": f"{hub.url}/{name}", "name": name})
    name, (action, revision) = "/".join(parts[2:4]), parts[4:6]
    repository = hub.repositories[name]
    if action == "branch":
        repository.references[revision] = repository.references["main"]
        return reply(200, {})
    if action == "preupload":
        files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                 for file in json.loads(body)["files"]]  # fmt: skip
        return reply(200, {"files": files})
    assert action == "commit", path
    lines = [json.loads(line) for line in body.splitlines()]
    repository.messages.append(lines[0]["value"]["summary"])
    files = dict(repository.commits[repository.references[revision]])
    for line in lines[1:]:
        assert line["key"] == "file", line
        files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
    proposed = "create_pr=1" in urlsplit(path).query
    commit = repository.commit(files, "refs/pr/1" if proposed else revision)
    told = {"success": True, "commitOid": commit, "commitUrl": f"{hub.url}/{name}/commit/{commit}"}
    return reply(200, {**told, **({"pullRequestUrl": f"{hub.url}/{name}/discussions/1"} if proposed else {})})
