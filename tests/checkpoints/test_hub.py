"""Against a small hub of our own, which counts what is asked of it."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from minisd.checkpoints import hub, load_components, save_file
from tests.tiny_diffusion import save_tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOAD = """
import sys
from minisd.checkpoints import load_components
for source, options in eval(sys.argv[1]):
    try:
        parts = load_components(source, **options)
        print("sum", sum(float(p.detach().double().sum()) for p in parts.unet.parameters()))
    except ValueError as error:
        print("ValueError", error)
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    folder = save_tiny(root / "owner" / "tiny")
    parts = load_components(folder)
    save_file(parts, folder / "tiny.safetensors")
    save_file(parts, folder / "pruned.safetensors")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"x" * 1000)
    (folder / "README.md").write_text("not needed")
    return root, sum(float(p.detach().double().sum()) for p in parts.unet.parameters())


@pytest.fixture
def server(served):
    """Speak as much of the hub's protocol as reading needs."""
    root, _ = served

    folder, asked = root / "owner" / "tiny", []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            path = self.path.split("?")[0].strip("/")
            if path.startswith("api/models/owner/gated"):
                return self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
            if path.startswith("api/models/owner/broken"):
                broken = {"type": "file", "path": "merges.txt", "oid": "0", "size": 9}
                answer = [broken] if "/tree/" in path else {"id": "owner/broken", "sha": COMMIT}
                return self.answer(200, json.dumps(answer).encode())
            if path.startswith("api/models/owner/tiny"):
                revision = path.split("/", 5)[-1]
                if path.count("/") == 5 and revision not in ("main", COMMIT):
                    return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                files = [p for p in folder.rglob("*") if p.is_file()]
                names = [str(p.relative_to(folder)) for p in files]
                if "/tree/" in path:
                    answer = [
                        {"type": "file", "path": name, "oid": "0", "size": p.stat().st_size}
                        for name, p in zip(names, files, strict=True)
                    ]
                else:
                    answer = {"id": "owner/tiny", "sha": COMMIT}
                return self.answer(200, json.dumps(answer).encode())
            if path.startswith(f"owner/tiny/resolve/{COMMIT}/"):
                name = path.removeprefix(f"owner/tiny/resolve/{COMMIT}/")
                file = folder / name
                if file.is_file():
                    asked.append(name)
                    data = file.read_bytes()
                    tag = hashlib.sha256(data).hexdigest()
                    return self.answer(200, data, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})
                return self.answer(
                    404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
                )
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        def answer(self, status, data, headers=None):
            self.send_response(status)
            for key, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked = asked
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def load(server, tmp_path):
    """Load in a process of its own, since the hub's client reads its settings when it is imported."""

    def run(*cases, offline=False):
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": str(int(offline)),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-c", LOAD, repr(cases)]
        result = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines(), result.stderr

    return run


def test_only_what_is_needed_is_fetched_and_then_found_without_a_network(served, server, load):
    root, total = served
    single = ("owner/tiny/tiny.safetensors", {"config": str(root / "owner" / "tiny")})
    told, progress = load(("owner/tiny", {}))
    assert told == [f"sum {total}"]
    assert "100%" in progress
    fetched = set(server.asked)
    assert "unet/diffusion_pytorch_model.safetensors" in fetched
    assert fetched <= {
        *hub.SETTINGS,
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    }

    server.asked.clear()
    told, _ = load(("owner/tiny", {}), single, ("owner/other", {}), offline=True)
    assert told[0] == f"sum {total}"
    assert "not in the hub's cache" in told[1]
    assert "hf download owner/other" in told[2]
    assert server.asked == []

    assert load(single)[0] == [f"sum {total}"]
    assert set(server.asked) == {"tiny.safetensors"}  # the tokenizer is here already


def test_what_cannot_be_fetched_is_said_in_words(served, server, load):
    cases = {
        "no repository on the hub": ("owner/nothing", {}),
        "wants its licence accepted": ("owner/gated", {}),
        "has no revision 'v9'": ("owner/tiny", {"revision": "v9"}),
        "has no file other.ckpt": ("owner/tiny/other.ckpt", {}),
        "unet of owner/tiny has no 'fp16' weights": ("owner/tiny", {"variant": "fp16"}),
        "broke off": ("owner/tiny", {"tokenizer": "owner/broken"}),
    }
    told, _ = load(*cases.values())
    for line, words in zip(told, cases, strict=True):
        assert line.startswith("ValueError")
        assert words in line


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("CompVis/stable-diffusion-v1-4", True),
        ("owner/name/v1-5-pruned-emaonly.safetensors", True),
        ("owner/name/folder/x.ckpt", True),
        ("name", False),
        ("./a/b", False),
        ("/a/b", False),
        ("../name", False),
        ("~/name", False),
        ("models/sd.ckpt", False),
        ("a/b/c", False),
    ],
)
def test_what_a_name_on_the_hub_looks_like(source, expected):
    assert hub.is_hub_name(source) is expected
