"""The schedule against closed forms, brute force and its own inverses, and in what it refuses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisd.diffusion import NoiseSchedule

MAKERS = {
    "linear": NoiseSchedule.linear,
    "scaled_linear": NoiseSchedule.scaled_linear,
    "cosine": NoiseSchedule.cosine,
}
KINDS = ("eps", "x0", "v", "score")
SD = NoiseSchedule.scaled_linear()


def closed_form(name: str, T: int) -> np.ndarray:
    """alpha_bar in extended precision, written out anew."""
    i = np.arange(T, dtype=np.longdouble)
    if name == "cosine":
        f = np.cos(((np.arange(T + 1) / np.longdouble(T)) + 0.008) / 1.008 * (np.pi / 2)) ** 2
        beta = np.minimum(1 - f[1:] / f[:-1], 0.999)
    elif name == "linear":
        beta = 1e-4 + (0.02 - 1e-4) * i / (T - 1)
    else:
        low, high = np.sqrt(np.longdouble(0.00085)), np.sqrt(np.longdouble(0.012))
        beta = (low + (high - low) * i / (T - 1)) ** 2
    return np.cumprod(1 - beta)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("T", [2, 10, 1000])
def test_alpha_bar_is_the_closed_form(name: str, T: int) -> None:
    schedule = MAKERS[name](T)
    expected = closed_form(name, T)
    assert np.abs(schedule.alpha_bar.numpy() / expected - 1).max() <= 1e-12
    assert np.abs(schedule.alpha_bar_at(torch.arange(T)).numpy() / expected - 1).max() <= 1e-12


def test_the_numbers_of_stable_diffusion() -> None:
    assert float(SD.alpha_bar[0]) == pytest.approx(0.99915, abs=1e-12)
    assert float(SD.alpha_bar[999]) == pytest.approx(0.0046601, abs=5e-8)
    assert float(SD.sigma_at(0)) == pytest.approx(0.02917, abs=5e-6)
    assert float(SD.sigma_at(999)) == pytest.approx(14.6146, abs=5e-5)


def test_the_clean_end() -> None:
    assert float(SD.alpha_bar_at(-1)) == 1
    assert float(SD.sigma_at(-1)) == 0
    assert float(SD.log_snr_at(-1)) == math.inf


def test_log_snr_is_that_of_alpha_bar() -> None:
    expected = (SD.alpha_bar / (1 - SD.alpha_bar)).log()
    assert torch.allclose(SD.log_snr_at(torch.arange(1000)), expected, rtol=0, atol=1e-11)


@given(t=st.floats(-1, 999))
def test_time_of_sigma_is_the_inverse_of_sigma_at(t: float) -> None:
    assert float(SD.time_of_sigma(SD.sigma_at(t))) == pytest.approx(t, abs=1e-9)


def test_sigma_between_two_indices_is_on_the_line() -> None:
    low, high = float(SD.sigma_at(41)), float(SD.sigma_at(42))
    assert float(SD.sigma_at(41.25)) == pytest.approx(0.75 * low + 0.25 * high, rel=1e-14)


def test_a_schedule_may_end_in_pure_noise() -> None:
    schedule = NoiseSchedule(torch.tensor([0.5, 1.0]))
    assert schedule.alpha_bar.tolist() == [0.5, 0.0]
    assert schedule.alpha_bar_at(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [1.0, 0.5, 0.0]


def test_tables_are_copies_that_nobody_shares() -> None:
    betas = torch.full((3,), 0.1)
    schedule = NoiseSchedule(betas)
    betas[0] = 0.9
    assert float(schedule.betas[0]) == pytest.approx(0.1)
    assert NoiseSchedule([0.1, 0.2]).T == 2


# ---- grids --------------------------------------------------------------------------------------


@given(T=st.integers(1, 1200), data=st.data(), offset=st.integers(0, 3))
def test_no_grid_repeats_a_time_or_leaves_the_schedule(
    T: int, data: st.DataObject, offset: int
) -> None:
    schedule = NoiseSchedule(torch.full((T,), 0.01))
    steps = data.draw(st.integers(1, T))
    for spacing in ("leading", "trailing", "linspace"):
        times = schedule.times(steps, spacing, min(offset, T - 1))
        assert times.shape == (steps,)
        assert (times.diff() < 0).all()
        assert times[0] <= T - 1
        assert times[-1] >= 0


@given(T=st.integers(1, 1200), data=st.data())
def test_leading_is_floor_plus_offset_clipped(T: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, T))
    offset = data.draw(st.integers(0, T - 1))
    times = NoiseSchedule(torch.full((T,), 0.01)).times(steps, "leading", offset).flip(0).tolist()
    plain = [min(i * T // steps + offset, T - 1) for i in range(steps)]
    if len(set(plain)) == steps:
        assert times == plain
    else:
        assert all(ours <= clipped for ours, clipped in zip(times, plain, strict=True))


def test_grids_as_printed_in_the_papers() -> None:
    assert SD.times(10, "leading", 1).tolist() == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]
    assert SD.times(4).tolist() == [999, 749, 499, 249]
    assert SD.times(4, "linspace").tolist() == [999, 666, 333, 0]
    assert SD.times(1, "linspace").tolist() == [999]
    assert SD.times(1000, "leading", 1).tolist() == list(range(999, -1, -1))


# ---- pictures -----------------------------------------------------------------------------------


def test_closed_form_is_the_chain_of_single_steps() -> None:
    schedule = NoiseSchedule.linear(40, 0.01, 0.2)
    g = torch.Generator().manual_seed(0)
    n = 200_000
    x = x_0 = torch.full((n,), 1.5, dtype=torch.float64)
    for t in range(40):
        x = schedule.q_step(x, t, torch.randn(n, generator=g, dtype=torch.float64))
    direct = schedule.q_sample(x_0, 39, torch.randn(n, generator=g, dtype=torch.float64))
    a = float(schedule.alpha_bar[-1])
    for sample in (x, direct):
        assert float(sample.mean()) == pytest.approx(math.sqrt(a) * 1.5, abs=4 / math.sqrt(n))
        assert float(sample.var()) == pytest.approx(1 - a, abs=4 * math.sqrt(2 / n))


def test_one_time_a_picture() -> None:
    x_0 = torch.randn(3, 2, 4, 4)
    eps = torch.randn_like(x_0)
    t = torch.tensor([0, 500, 999])
    together = SD.q_sample(x_0, t, eps)
    for i in range(3):
        alone = SD.q_sample(x_0[i : i + 1], int(t[i]), eps[i : i + 1])
        assert torch.equal(together[i : i + 1], alone)
    assert together.dtype == torch.float32


@pytest.mark.parametrize(("t", "t_prev"), [(0, None), (7, None), (29, None), (29, 11), (12, -1)])
def test_posterior_is_bayes_rule_on_a_grid(t: int, t_prev: int | None) -> None:
    schedule = NoiseSchedule.linear(30, 0.01, 0.3)
    s = t - 1 if t_prev is None else t_prev
    x_0 = torch.tensor([[0.7]], dtype=torch.float64)
    x_t = torch.tensor([[-0.4]], dtype=torch.float64)
    mean, variance = schedule.posterior(x_0, x_t, t, t_prev)
    if s == -1:
        assert float(variance) == 0
        assert float(mean) == pytest.approx(0.7, abs=1e-12)
        return
    grid = torch.linspace(-12, 12, 400_001, dtype=torch.float64)
    a_s, a_t = float(schedule.alpha_bar_at(s)), float(schedule.alpha_bar_at(t))
    from_x_0 = -((grid - math.sqrt(a_s) * 0.7) ** 2) / (2 * (1 - a_s))
    alpha = a_t / a_s
    to_x_t = -((-0.4 - math.sqrt(alpha) * grid) ** 2) / (2 * (1 - alpha))
    weight = (from_x_0 + to_x_t).softmax(0)
    by_hand = (weight * grid).sum()
    assert float(mean) == pytest.approx(float(by_hand), abs=1e-9)
    assert float(variance) == pytest.approx(float((weight * (grid - by_hand) ** 2).sum()), abs=1e-9)


def test_posterior_variance_table_is_that_of_single_steps() -> None:
    x = torch.zeros(1, 1, dtype=torch.float64)
    each = torch.stack([SD.posterior(x, x, t)[1] for t in range(1000)])
    assert torch.allclose(each, SD.posterior_variance, rtol=1e-9, atol=1e-15)


@settings(deadline=None)
@given(
    t=st.floats(0, 999),
    source=st.sampled_from(KINDS),
    target=st.sampled_from(KINDS),
    seed=st.integers(0, 1000),
)
def test_every_conversion_says_the_same(t: float, source: str, target: str, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    x_0, eps = torch.randn(2, 3, 4, generator=g, dtype=torch.float64).unbind()
    a = float(SD.alpha_bar_at(t))
    x_t = math.sqrt(a) * x_0 + math.sqrt(1 - a) * eps
    said = {
        "eps": eps,
        "x0": x_0,
        "v": math.sqrt(a) * eps - math.sqrt(1 - a) * x_0,
        "score": -eps / math.sqrt(1 - a),
    }
    got = SD.convert(said[source], x_t, t, source, target)
    assert torch.allclose(got, said[target], rtol=1e-9, atol=1e-9)


def test_v_tells_all_even_at_both_ends() -> None:
    schedule = NoiseSchedule(torch.tensor([0.5, 1.0]))
    x_t, v = torch.randn(1, 3).double(), torch.randn(1, 3).double()
    assert torch.equal(schedule.convert(v, x_t, 1, "v", "x0"), -v)
    assert torch.equal(schedule.convert(v, x_t, 1, "v", "eps"), x_t)
    assert torch.equal(schedule.convert(v, x_t, -1, "v", "eps"), v)


@pytest.mark.parametrize("kind", KINDS)
def test_as_denoiser(kind: str) -> None:
    x_t, eps = torch.randn(2, 5).double(), torch.randn(2, 5).double()
    t = torch.tensor([10.0, 900.5], dtype=torch.float64)
    network = SD.as_denoiser(lambda x, t: SD.convert(eps, x, t, "eps", kind), kind)
    assert torch.allclose(network(x_t, t), eps, rtol=1e-9, atol=1e-9)


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("betas", "words"),
    [
        ([0.1, 0.0], r"betas\[1\] is 0.0.*\(0, 1\]"),
        ([0.1, 1.1], r"betas\[1\] is 1.1"),
        ([-0.1], r"betas\[0\] is -0.1"),
        ([float("nan")], r"betas\[0\] is nan"),
        ([], r"betas has shape \(0,\)"),
        ([[0.1]], r"betas has shape \(1, 1\)"),
    ],
)
def test_bad_betas(betas: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NoiseSchedule(betas)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("T", [0, -3, 2.5])
def test_bad_T(name: str, T: float) -> None:
    with pytest.raises(ValueError, match=f"T is {T}"):
        MAKERS[name](T)


def test_bad_ends() -> None:
    with pytest.raises(ValueError, match=r"beta_start and beta_end are -1"):
        NoiseSchedule.scaled_linear(10, -1, 0.1)
    with pytest.raises(ValueError, match=r"betas\[1\] is 2"):
        NoiseSchedule.linear(2, 0.1, 2)


@pytest.mark.parametrize("t", [-1.5, 999.5, 1000, float("nan"), float("inf")])
def test_t_outside_the_schedule(t: float) -> None:
    x = torch.zeros(2, 3)
    for call in (
        lambda: SD.sigma_at(t),
        lambda: SD.q_sample(x, t, x),
        lambda: SD.posterior(x, x, t),
        lambda: SD.convert(x, x, t, "eps", "v"),
    ):
        with pytest.raises(ValueError, match=r"t is .*it must lie in \[-1, 999\]"):
            call()


def test_shapes_that_do_not_match() -> None:
    x, y = torch.zeros(2, 3), torch.zeros(2, 4)
    with pytest.raises(ValueError, match=r"eps has shape \(2, 4\).*x_0, \(2, 3\)"):
        SD.q_sample(x, 1, y)
    with pytest.raises(ValueError, match=r"x_t has shape \(2, 4\)"):
        SD.posterior(x, y, 1)
    with pytest.raises(ValueError, match=r"value has shape \(2, 4\)"):
        SD.convert(y, x, 1, "eps", "x0")
    with pytest.raises(ValueError, match=r"t has shape \(3,\).*2 pictures"):
        SD.q_sample(x, torch.tensor([1, 2, 3]), x)


def test_times_that_make_no_sense() -> None:
    x = torch.zeros(1, 1)
    with pytest.raises(ValueError, match=r"t_prev is 5.*before t = 5"):
        SD.posterior(x, x, 5, 5)
    with pytest.raises(ValueError, match=r"t is 1\.5; a step needs whole times"):
        SD.q_step(x, 1.5, x)
    with pytest.raises(ValueError, match=r"t is -1"):
        SD.q_step(x, -1, x)
    with pytest.raises(ValueError, match="sigma is 20"):
        SD.time_of_sigma(20.0)


def test_conversions_that_cannot_be() -> None:
    x = torch.zeros(1, 1)
    ends = NoiseSchedule(torch.tensor([0.5, 1.0]))
    with pytest.raises(ValueError, match=r"source is 'noise'.*eps"):
        SD.convert(x, x, 1, "noise", "eps")
    with pytest.raises(ValueError, match="target is 'mean'"):
        SD.convert(x, x, 1, "eps", "mean")
    with pytest.raises(ValueError, match="alpha_bar = 0"):
        ends.convert(x, x, 1, "eps", "x0")
    with pytest.raises(ValueError, match="alpha_bar = 1"):
        ends.convert(x, x, -1, "x0", "eps")
