"""Nothing of a local model reaches out: no telemetry, no update check, no other process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

WATCHED = """
import json, sys
seen = []
def watch(event, args):
    if event.startswith("socket.") or event in ("os.fork", "os.posix_spawn", "os.system", "subprocess.Popen"):
        seen.append(f"{event} {args!r}")
sys.addaudithook(watch)
"""
TELLS = """
heavy = ("torch", "transformers", "huggingface_hub", "scipy", "pandas", "sklearn", "openvino_telemetry")
print(json.dumps({"seen": seen, "heavy": [name for name in heavy if sys.modules.get(name)]}))
"""


def run(code: str) -> dict[str, list[str]]:
    script = WATCHED + code + TELLS
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_watch_sees_a_socket_and_a_process() -> None:
    told = run("import socket, subprocess\nsocket.socket().close()\nsubprocess.run(['true'])\n")
    assert any(event.startswith("socket.") for event in told["seen"])
    assert any(event.startswith("subprocess.Popen") for event in told["seen"])


def test_an_installed_model_encodes_in_silence(minilm_folder: Path) -> None:
    told = run(
        "from vicinal import SentenceTransformer\n"
        "model = SentenceTransformer('all-MiniLM-L6-v2')\n"
        "model.encode(['one', 'two'] * 200)\n"
        "model.fingerprint\n"
    )
    assert told == {"seen": [], "heavy": []}


def test_the_bundled_model_encodes_in_silence() -> None:
    told = run("from vicinal import SentenceTransformer\nSentenceTransformer().encode('one')\nimport vicinal.util\n")
    assert told == {"seen": [], "heavy": []}


def test_a_program_that_imports_openvino_first_is_not_disturbed() -> None:
    code = "import types\nsys.modules['openvino_telemetry'] = mark = types.ModuleType('mine')\n"
    told = run(f"{code}from vicinal.backends import silent\nassert sys.modules['openvino_telemetry'] is mark\n")
    assert told["seen"] == []
