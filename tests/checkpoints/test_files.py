import os
import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from minisd.checkpoints.files import pick_weights, read_state_dict

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}


def assert_same(state, expected):
    assert list(state) == list(expected)
    for key, value in expected.items():
        assert state[key].dtype == value.dtype
        assert torch.equal(state[key], value)


@pytest.fixture
def ckpt(tmp_path, monkeypatch):
    """A file as CompVis' training wrote them, with the names that sd-v1-4.ckpt and v1-5-pruned.ckpt pickle."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    callback = type("ModelCheckpoint", (), {"__module__": name})
    module.ModelCheckpoint = callback
    for parent in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    monkeypatch.setitem(sys.modules, name, module)
    record = callback()
    record.best_model_path = "somewhere"
    content = {
        "global_step": 470000,
        "callbacks": {callback: {"best_model_score": np.float64(0.25)}},
        "record": record,
        "state_dict": STATE | {"note": "no tensor"},
    }
    torch.save(content, tmp_path / "new.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "new.ckpt") as source,
        zipfile.ZipFile(tmp_path / "old.ckpt", "w") as target,
    ):
        for item in source.infolist():
            data = source.read(item)
            if item.filename.endswith("data.pkl"):  # numpy has moved since
                assert b"cnumpy._core.multiarray\nscalar" in data
                data = data.replace(b"cnumpy._core.multi", b"cnumpy.core.multi")
            target.writestr(item.filename, data)
    return tmp_path / "old.ckpt"


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    ).stdout  # fmt: skip


def test_the_famous_pickle_loads_where_lightning_is_not(ckpt):
    code = (
        "import importlib.util, sys, torch\n"
        "assert importlib.util.find_spec('pytorch_lightning') is None\n"
        "from minisd.checkpoints import read_state_dict\n"
        "print({k: (v.dtype, v.tolist()) for k, v in read_state_dict(sys.argv[1]).items()})\n"
        "allowed = [x.__module__ for x in torch.serialization.get_safe_globals()]\n"
        "assert 'huggingface_hub' not in sys.modules\n"
        "assert not any(m.startswith(('pytorch_lightning', 'numpy')) for m in allowed)"
    )
    expected = {key: (value.dtype, value.tolist()) for key, value in STATE.items()}
    assert run(code, ckpt).strip() == str(expected)


def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'owned'}",)

    for name in ("attack.ckpt", "attack.bin"):
        torch.save({"state_dict": STATE, "more": Attack()}, tmp_path / name)
        with pytest.raises(
            ValueError, match=r"posix\.system.*not weights but code.*nothing was run"
        ):
            read_state_dict(tmp_path / name)
    torch.save({"x": print}, tmp_path / "print.pt")
    with pytest.raises(ValueError, match=r"'print'.*refused"):
        read_state_dict(tmp_path / "print.pt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_pickles_of_either_format(tmp_path, zipped):
    path = tmp_path / "w.bin"
    torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
    assert_same(read_state_dict(path), STATE)


def test_reads_safetensors_whole_and_in_shards(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    assert_same(read_state_dict(tmp_path / "w.safetensors"), STATE)
    for i, (key, value) in enumerate(STATE.items()):
        save_file({key: value}, tmp_path / f"s-{i}.safetensors")
    index = tmp_path / "s.safetensors.index.json"
    index.write_text('{"weight_map": {"a.weight": "s-0.safetensors", "b": "s-1.safetensors"}}')
    assert_same(read_state_dict(index), STATE)
    (tmp_path / "s-1.safetensors").unlink()
    with pytest.raises(
        ValueError, match=r"2 shards, of which \['s-1\.safetensors'\] are not there"
    ):
        read_state_dict(index)


def test_writing_to_the_weights_does_not_write_to_the_file(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    torch.save(STATE, tmp_path / "w.ckpt")
    for name in ("w.safetensors", "w.ckpt"):
        before = (tmp_path / name).read_bytes()
        read_state_dict(tmp_path / name)["a.weight"].fill_(7)
        assert (tmp_path / name).read_bytes() == before


def test_weights_are_in_memory_once_and_only_when_used(tmp_path):
    if not os.path.exists("/proc/self/status"):
        pytest.skip("reads peak memory as Linux tells it")
    size = 300
    state = {f"w{i}": torch.ones(size // 4, 1 << 18) for i in range(4)}
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": state}, tmp_path / "w.ckpt")
    code = (
        "import sys, safetensors.torch\n"
        "from minisd.checkpoints import read_state_dict\n"
        "def memory(kind):\n"
        "    status = open('/proc/self/status').read()\n"
        "    return int(status.split(kind + ':')[1].split()[0]) // 1024\n"
        "start = memory('VmRSS')\n"
        "for path in sys.argv[1:]:\n"
        "    state = read_state_dict(path)\n"
        "    print(memory('VmRSS') - start)\n"
        "    total = sum(float(w.sum()) for w in state.values())\n"
        "    print(memory('VmHWM') - start)\n"
        "    del state"
    )
    files = (tmp_path / "w.safetensors", tmp_path / "w.ckpt")
    loaded, used, loaded_pickle, used_pickle = map(int, run(code, *files).split())
    assert max(loaded, loaded_pickle) < 40
    assert size < max(used, used_pickle) < size + 40


BROKEN = {
    "absent.ckpt": (None, "is not there"),
    "w.txt": (b"x", "ends with '.txt'"),
    "lfs.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "page.ckpt": (b"<!DOCTYPE html><html>", "web page"),
    "empty.safetensors": (b"", "cut short or damaged"),
    "empty.ckpt": (b"", "cut short or damaged"),
    "noise.bin": (bytes(range(200, 256)) * 9, "cut short or damaged"),
    "w.safetensors.index.json": (b"{}", "no weight_map"),
    "bad.index.json": (b"{", "not a whole JSON file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_says_what_is_wrong_with_a_file(tmp_path, name):
    content, told = BROKEN[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=told) as error:
        read_state_dict(tmp_path / name)
    assert name in str(error.value)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path, kept):
    state = {f"w{i}": torch.ones(1000) for i in range(10)}
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.ckpt")
    torch.save(state, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    for name in ("w.safetensors", "w.ckpt", "old.ckpt"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: int(kept * len(data))])
        with pytest.raises(ValueError, match=rf"{name} \([\d,]+ bytes\) is not a whole file"):
            read_state_dict(tmp_path / name)


def test_a_pickle_of_something_else_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(ValueError, match="holds no state dict, but a list"):
        read_state_dict(tmp_path / "w.pt")


D, M = "diffusion_pytorch_model", "model"


def shards(stem, mark=""):
    return [f"{stem}-0000{i}-of-00002{mark}.safetensors" for i in (1, 2)]


@pytest.mark.parametrize(
    ("names", "variant", "expected"),
    [
        ([f"{D}.bin", f"{D}.safetensors"], None, [f"{D}.safetensors"]),
        ([f"{D}.safetensors", f"{D}.fp16.safetensors"], "fp16", [f"{D}.fp16.safetensors"]),
        ([f"{D}.non_ema.bin", f"{D}.bin"], None, [f"{D}.bin"]),
        (["pytorch_model.bin"], None, ["pytorch_model.bin"]),
        ([f"{M}.safetensors", "pytorch_model.bin"], None, [f"{M}.safetensors"]),
        (
            [f"{D}.safetensors.index.json", *shards(D), *shards(f"{D}.fp16")],
            None,
            [f"{D}.safetensors.index.json", *shards(D)],
        ),
        (
            [f"{M}.safetensors.index.fp16.json", *shards(f"{M}.fp16"), *shards(M)],
            "fp16",
            [f"{M}.safetensors.index.fp16.json", *shards(f"{M}.fp16")],
        ),
        (
            [f"{M}.safetensors.fp16.index.json", *shards(M, ".fp16"), *shards(M)],
            "fp16",
            [f"{M}.safetensors.fp16.index.json", *shards(M, ".fp16")],
        ),
    ],
)
def test_picks_the_weights_of_a_folder(names, variant, expected):
    assert pick_weights(names, "unet", variant) == expected


def test_says_which_weights_a_folder_has():
    with pytest.raises(ValueError, match=r"unet has no 'fp16' weights .*model\.safetensors'\]\)$"):
        pick_weights([f"{D}.safetensors", "config.json"], "unet", "fp16")
    with pytest.raises(ValueError, match=r"unet has no weights .*; it has variant \['fp16'\]"):
        pick_weights([f"{D}.fp16.safetensors"], "unet")
