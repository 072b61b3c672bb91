"""The loop: what it computes does not depend on stops, parts or processes, and nothing is lost."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from minisd.training.loop import (
    RunSettings,
    Task,
    learning_rate,
    row_seed,
    train,
    update_average,
)

SETTINGS = {
    "steps": 12,
    "batch_size": 4,
    "learning_rate": 0.01,
    "warmup": 2,
    "log_every": 1,
    "save_every": 5,
}


@pytest.fixture(autouse=True)
def own_state():
    """Accelerate keeps its state for a process; each test has its own."""
    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


class Line(Task):
    """Fits a line with noise, and can be told to break off."""

    def __init__(self, stop=None, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
        own = torch.Generator().manual_seed(1)
        x, y = torch.randn(10, 3, generator=own), torch.randn(10, 1, generator=own)
        self.data = torch.utils.data.TensorDataset(x, y)
        self.calls, self.stop = 0, stop

    def forward(self, batch, noise):
        self.calls += 1
        if self.stop:
            self.stop(self.calls)
        x, y = batch
        error = ((self.network(x + 0.1 * noise(x)) - y) ** 2).mean()
        return {"loss": error, "shift": noise.uniform().mean()}

    def export(self, network, output):
        save_file(network.state_dict(), output / "line.safetensors")


def run(folder, task=None, told=None, **settings):
    train(task or Line(), RunSettings(**SETTINGS | settings), folder, folder, told or {"data": 1})


def losses(folder):
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


def untimed(lines):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def interrupt(at):
    return lambda calls: calls == at and os.kill(os.getpid(), signal.SIGINT)


def test_it_learns_and_exports_the_average(tmp_path):
    run(tmp_path, steps=300, ema=0.9)
    log = [float(line["loss"]) for line in losses(tmp_path)]
    assert np.mean(log[-20:]) < 0.7 * np.mean(log[:20])
    written = load_file(tmp_path / "line.safetensors")
    saved = load_file(tmp_path / "checkpoint.safetensors")
    assert all(torch.equal(written[key], saved[f"average.{key}"]) for key in written)
    assert not torch.equal(written["0.weight"], saved["network.0.weight"])


@pytest.mark.parametrize("at", [3, 7])
def test_a_stopped_run_goes_on_as_if_it_had_never_stopped(tmp_path, at):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    whole.mkdir(), parted.mkdir()
    run(whole)
    with pytest.raises(KeyboardInterrupt, match=f"saved at step {at} of 12"):
        run(parted, Line(interrupt(at)))
    assert len(losses(parted)) == at
    run(parted, Line(seed=5))  # the first weights do not matter: they come from the checkpoint
    assert untimed(losses(parted)) == untimed(losses(whole))
    seconds = [float(line["seconds"]) for line in losses(parted)]
    assert seconds == sorted(seconds)
    ours, theirs = (load_file(folder / "line.safetensors") for folder in (parted, whole))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_each_line_is_the_mean_since_the_last_one(tmp_path):
    every, seldom = tmp_path / "every", tmp_path / "seldom"
    every.mkdir(), seldom.mkdir()
    run(every)
    with pytest.raises(KeyboardInterrupt):
        run(seldom, Line(interrupt(7)), log_every=5)
    run(seldom, log_every=5)
    each = [float(line["loss"]) for line in losses(every)]
    found = {int(line["step"]): float(line["loss"]) for line in losses(seldom)}
    wanted = {5: each[:5], 7: each[5:7], 10: each[7:10], 12: each[10:]}
    assert found == {step: pytest.approx(np.mean(part)) for step, part in wanted.items()}


def test_lines_after_the_last_checkpoint_are_written_anew(tmp_path):
    class Crash(RuntimeError):
        pass

    def crash(calls):
        if calls == 9:
            raise Crash

    with pytest.raises(Crash):
        run(tmp_path, Line(crash))
    assert len(losses(tmp_path)) == 8  # the checkpoint is of step 5
    run(tmp_path)
    assert [int(line["step"]) for line in losses(tmp_path)] == list(range(1, 13))


def test_parts_of_a_batch_give_what_the_whole_gives(tmp_path):
    logs = []
    for accumulate in (1, 2, 4):
        folder = tmp_path / str(accumulate)
        folder.mkdir()
        run(folder, accumulate=accumulate)
        logs.append([float(line["loss"]) for line in losses(folder)])
        for state in (AcceleratorState, GradientState, PartialState):
            state._reset_state()
    assert np.allclose(logs[0], logs[1], rtol=1e-5)
    assert np.allclose(logs[0], logs[2], rtol=1e-5)


def test_two_processes_give_the_losses_of_one(tmp_path):
    script = Path(__file__).with_name("two_processes.py")
    logs = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        # `accelerate launch` starts several processes on GPUs alone, or by MPI
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        done = subprocess.run(
            [sys.executable, *launch, str(script), str(folder)],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        )
        assert sorted(done.stdout.split()) == [f"{i}/{processes}" for i in range(processes)]
        logs.append([float(line["loss"]) for line in losses(folder)])
    assert len(logs[1]) == 12
    assert np.allclose(logs[0], logs[1], rtol=1e-5)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Line(interrupt(3)))
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"another run \(data was 1, is 2; learning_rate was 0.01"):
        run(tmp_path, told={"data": 2}, learning_rate=0.02)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    run(tmp_path, log_every=2)  # how often something is written may change


def test_a_damaged_checkpoint_is_refused(tmp_path):
    run(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="checkpoint"):
        run(tmp_path)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    script = Path(__file__).with_name("full_disk.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "cannot be written at step 10" in done.stderr
    assert [p.name for p in tmp_path.glob("*safetensors*")] == ["checkpoint.safetensors"]
    assert not list(tmp_path.glob(".*"))
    run(tmp_path, log_every=5)  # goes on from step 5
    assert [int(line["step"]) for line in losses(tmp_path)] == [5, 10, 12]


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    task = Line()
    task.data.tensors[1][:] = float("nan")
    with pytest.raises(FloatingPointError, match="nan at step 1"):
        run(tmp_path, task)
    assert not (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0), ("batch_size", 0), ("accumulate", 0), ("warmup", -1), ("ema", 1.0),
        ("learning_rate", float("nan")), ("max_norm", 0.0), ("mixed_precision", "fp8"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value!r}"):
        RunSettings(**SETTINGS | {name: value})


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path):
    with pytest.raises(ValueError, match="batch_size is 4; it must be a multiple"):
        run(tmp_path, accumulate=3)


def test_the_learning_rate_falls_as_pytorchs_cosine():
    settings = RunSettings(steps=60, batch_size=1, learning_rate=2.0, warmup=10)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    peer = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    for step in range(10, 60):
        assert learning_rate(step, settings) == pytest.approx(peer.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        peer.step()


@given(st.integers(0, 50), st.integers(1, 200))
def test_the_learning_rate_rises_and_falls(warmup, steps):
    settings = RunSettings(steps=steps, batch_size=1, learning_rate=2.0, warmup=warmup)
    rates = [learning_rate(i, settings) for i in range(steps)]
    assert 0 <= min(rates) <= max(rates) <= 2
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    if warmup < steps:
        assert rates[warmup] == 2


def test_each_row_of_each_step_of_each_run_has_a_seed_of_its_own():
    seeds = {
        row_seed(seed, step, row) for seed in range(5) for step in range(9) for row in range(7)
    }
    assert len(seeds) == 5 * 9 * 7
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_the_average_is_that_of_its_definition():
    old, new = nn.Linear(2, 2), nn.Linear(2, 2)
    wanted = 0.9 * old.weight.detach() + 0.1 * new.weight.detach()
    update_average(old, new, 0.9)
    torch.testing.assert_close(old.weight.detach(), wanted)
