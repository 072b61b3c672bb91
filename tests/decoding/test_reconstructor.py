"""What every system must do, on the simulated subject that ships and the miniature."""

import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from minisd.decoding.baselines import Blur, TextOnly, mean_picture, random_pictures
from minisd.decoding.gabor import GaborIdentification, GaborSettings, gabor_energy
from minisd.decoding.inversion import FeatureInversion, InversionSettings
from minisd.decoding.mind_diffuser import MindDiffuser, MindDiffuserSettings
from minisd.decoding.responses import Responses, read_responses
from minisd.decoding.retrieval import Retrieval
from minisd.decoding.ridge import RidgeSettings
from minisd.decoding.selected import SelectedSettings
from minisd.decoding.takagi import TakagiNishimoto, TakagiSettings
from minisd.decoding.unclip import UnCLIP, UnCLIPSettings
from minisd.decoding.view import ViewSettings, best_units, expected_loss, view_loss
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare
from minisd.steering import Networks
from tests.decoding.conftest import SAMPLES

RIDGE = RidgeSettings(alphas=(1e3, 1e4), folds=3)
VIEW = ViewSettings(layers=(1, 3), weights=(1.5, 1.0))
SMALL = MindDiffuserSettings(
    steps=4, inner_steps=3, iterations=2, stop="never", view=VIEW, ridge=RIDGE
)


@pytest.fixture(scope="module")
def make(sd, clip, shown):
    """Give a system by name that is not fitted."""
    networks, gallery = Networks(SAMPLES / "miniature"), shown("train")[1]
    plain = RidgeSettings(alphas=(1.0, 10.0, 100.0), folds=3)
    gabor = GaborSettings(grid=4, orientations=4, voxels=200, ridge=plain)
    makers = {
        "takagi": lambda: TakagiNishimoto(sd, TakagiSettings(steps=4, ridge=RIDGE)),
        "mind_diffuser": lambda: MindDiffuser(sd, clip, SMALL),
        "unclip": lambda: UnCLIP(
            networks.unclip, networks.condition, clip, UnCLIPSettings(steps=4, ridge=RIDGE)
        ),
        "retrieval": lambda: Retrieval(clip, gallery, 64, RIDGE),
        "gabor": lambda: GaborIdentification(gallery, 64, gabor),
        "inversion": lambda: FeatureInversion(
            clip, 64, InversionSettings(view=VIEW, iterations=8, ridge=RIDGE)
        ),
        "blur": lambda: Blur(sd, RIDGE),
        "text_only": lambda: TextOnly(sd, steps=4, ridge=RIDGE),
    }
    return lambda name: makers[name]()


@pytest.fixture(scope="module")
def systems(make, shown):
    """Each system by name, fitted when it is first asked for."""

    class Fitted(dict):
        def __missing__(self, name):
            self[name] = make(name).fit(*shown("train"), progress=False)
            return self[name]

    return Fitted()


NAMES = (
    "takagi",
    "mind_diffuser",
    "unclip",
    "retrieval",
    "gabor",
    "inversion",
    "blur",
    "text_only",
)
LOOKED_UP = ("retrieval", "gabor", "inversion", "blur")
"""Those in which chance has no part."""


def loss_of(system, x, features):
    return view_loss(system.clip, x, features, best_units(system.decoders, VIEW), VIEW)


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_the_same_alone_and_in_a_batch(systems, shown, name):
    fmri = shown("test")[0][:3]
    whole = systems[name].reconstruct(fmri)
    assert whole.shape == (3, 3, 64, 64)
    assert whole.abs().max() <= 1
    alone = systems[name].reconstruct(fmri[1:2])
    # Adam's first steps are as long for a gradient of nothing but rounding as for any other
    apart = (alone - whole[1:2]).abs()
    assert apart.mean() < 1e-4
    assert apart.max() < 0.02
    other = systems[name].reconstruct(fmri, seed=1)
    assert torch.allclose(other, whole, atol=0.05) == (name in LOOKED_UP)


@pytest.mark.parametrize("name", NAMES)
def test_saved_is_loaded(systems, make, shown, tmp_path, name):
    system, fmri = systems[name], shown("test")[0][:2]
    system.save(tmp_path / "fitted")
    again = make(name).load(tmp_path / "fitted")
    for key, value in system.decode(fmri).items():
        assert torch.equal(again.decode(fmri)[key], value)


def test_no_array_depends_on_a_test_response(systems, sd, subject, shown, tmp_path):
    """Replace all responses to shared pictures in the files: whatever is fitted stays the same, bit for bit."""
    copy = Subject(shutil.copytree(subject.root.path, tmp_path / "nsd"), 1)
    rng = np.random.default_rng(0)
    for session in copy.sessions:
        shared = copy.trials[copy.trials.session == session].shared
        (path,) = (tmp_path / "nsd").rglob(f"betas_session{session:02}.hdf5")
        with h5py.File(path, "r+") as file:
            betas = file["betas"][()]
            brain = betas.any(axis=0)
            noise = rng.integers(-900, 900, (shared.sum(), brain.sum()))
            rows = betas[shared]
            rows[:, brain] = noise
            betas[shared] = rows
            file["betas"][...] = betas
    again = prepare(copy, tmp_path / "prepared", PrepareSettings(align=10), progress=False)
    assert not np.allclose(again.test.betas, shown("test")[0].betas)
    train, seen = read_responses(copy, again, "train"), shown("train")[1]
    before = systems["takagi"]
    after = TakagiNishimoto(sd, before.settings).fit(train, seen, progress=False)
    for name, decoder in before.decoders.items():
        for field, value in vars(decoder.ridge).items():
            other = getattr(after.decoders[name].ridge, field)
            assert value is other is None or torch.equal(value, other), (name, field)


def test_retrieval_finds_a_picture_by_its_own_embedding(systems, shown):
    seen = shown("train")[1][5:9]
    system = systems["retrieval"]
    true = torch.from_numpy(system.features(seen, progress=False)["embedding"])
    assert system.find(3 * true).tolist() == [5, 6, 7, 8]
    torch.testing.assert_close(system.draw({"embedding": true}, [0] * 4), seen.pictures(64))


def test_gabor_finds_a_picture_by_its_own_responses(systems, shown):
    fmri, _ = shown("train")
    system = systems["gabor"]
    found = system.find(torch.from_numpy(np.array(fmri.betas[:40])))
    # the encoding model was fitted on these; chance is 1 in 120
    assert (found == torch.arange(40)).float().mean() > 0.5


def test_gabor_energy_knows_orientation_and_place():
    settings = GaborSettings(orientations=4, wavelengths=(8.0,), grid=2)
    ramp = torch.arange(64.0)
    upright = torch.cos(2 * torch.pi * ramp / 8).expand(3, 64, 64).clone()
    upright[:, 32:] = 0
    energy = gabor_energy(torch.stack([upright, upright.transpose(1, 2)]), settings).unflatten(
        1, (5, 2, 2)
    )
    assert energy[0, 1:, 0].mean(1).argmax() == 0
    assert energy[1, 1:, :, 0].mean(1).argmax() == 2
    assert energy[0, 1, 0].min() > 3 * energy[0, 1, 1].max()
    shifted = torch.roll(upright, 2, dims=2)[None]
    torch.testing.assert_close(
        gabor_energy(shifted, settings).unflatten(1, (5, 2, 2))[0, 1:],
        energy[0, 1:],
        atol=0.03,
        rtol=0,
    )


def test_inversion_comes_nearer(systems, shown):
    system, fmri = systems["inversion"], shown("test")[0][:2]
    features = system.decode(fmri)
    assert (
        loss_of(system, system.draw(features, [0, 0]), features)
        < 0.95 * loss_of(system, torch.zeros(2, 3, 64, 64), features)
    ).all()


def test_baselines_that_say_nothing(shown):
    seen = shown("train")[1]
    wanted = seen.pictures(64).mean(0)
    torch.testing.assert_close(mean_picture(seen, 64, 2)[1], wanted, atol=1e-5, rtol=0)
    first, same = (random_pictures(seen, 64, 5, seed=k) for k in (0, 0))
    assert torch.equal(first, same)
    assert not torch.equal(first, random_pictures(seen, 64, 5, seed=1))


def test_takagi_is_image_to_image_of_what_was_decoded(systems, shown, sd):
    fmri = shown("test")[0][:2]
    found = systems["takagi"].decode(fmri)
    assert systems["takagi"].decoders["z"].region == "early"
    assert systems["takagi"].decoders["c"].region == "ventral"
    wanted = sd.image_to_image(
        found["c"], found["z"], strength=0.8, steps=4, guidance_scale=5.0, seed=fmri.seeds(0),
        sampler="ddim", output="tensor", progress=False,
    )  # fmt: skip
    torch.testing.assert_close(systems["takagi"].reconstruct(fmri), wanted)


def test_stage_one_is_image_to_image(systems, shown, sd, clip):
    system = MindDiffuser(sd, clip, replace(SMALL, iterations=0, tokens=None))
    _, seen = shown("test")
    true = {k: torch.from_numpy(v) for k, v in system.features(seen[:2], progress=False).items()}
    wanted = sd.image_to_image(
        true["c"], true["z"], strength=0.74, steps=4, guidance_scale=5.0, seed=[5, 6],
        sampler="ddim", output="tensor", progress=False,
    )  # fmt: skip
    torch.testing.assert_close(system.draw(true, [5, 6]), wanted, atol=1e-4, rtol=0)


def test_stage_two_comes_nearer_to_the_decoded_features(systems, shown):
    system, fmri = systems["mind_diffuser"], shown("test")[0][:2]
    features = system.decode(fmri)
    before = loss_of(system, system.walk(features["z"], features["c"], [1, 2], 3), features)
    longer = MindDiffuser(system.sd, system.clip, replace(SMALL, iterations=12, learning_rate=0.05))
    longer.decoders = system.decoders
    z, c = longer.move(features, [1, 2], progress=False)
    after = loss_of(system, system.walk(z, c, [1, 2], 3), features)
    assert (after < 0.98 * before).all()


def test_stage_two_begins_with_the_noise_that_fits_best(systems, shown):
    system, fmri = systems["mind_diffuser"], shown("test")[0][:3]
    features = system.decode(fmri)
    other = MindDiffuser(system.sd, system.clip, replace(SMALL, candidates=3))
    other.decoders = system.decoders
    seeds, losses = [1, 2, 3], []
    for n in range(3):
        x = system.walk(features["z"], features["c"], [seed + n for seed in seeds], 3)
        losses.append(loss_of(system, x, features))
    best = torch.stack(losses).argmin(0)
    assert best.any()  # or the first of each would do
    expected = (torch.tensor(seeds) + best).tolist()
    assert other.choose(features, seeds, progress=False) == expected
    assert system.choose(features, seeds) == seeds


def test_the_expected_loss_is_that_of_the_true_pictures(systems, shown):
    """What the folds of the training pictures promise is what test pictures have, nearly."""
    system, (fmri, seen) = systems["mind_diffuser"], shown("test")
    features = system.decode(fmri)
    units = best_units(system.decoders, VIEW)
    expected = expected_loss(system.decoders, features, units, VIEW)
    there = view_loss(system.clip, seen.pictures(64), features, units, VIEW)
    assert expected.mean().item() == pytest.approx(there.mean().item(), rel=0.25)
    other = view_loss(system.clip, seen.pictures(64).flip(0), features, units, VIEW)
    assert other.mean() > there.mean()


def test_what_fits_well_enough_is_not_moved(systems, shown):
    system, fmri = systems["mind_diffuser"], shown("test")[0][:2]
    features = system.decode(fmri)
    other = MindDiffuser(system.sd, system.clip, replace(SMALL, iterations=5, stop="expected"))
    other.decoders = dict(system.decoders)
    for name in VIEW.names:  # as if they knew nothing
        one = system.decoders[name]
        unsure = replace(one.ridge, error=torch.full_like(one.ridge.error, 1e6))
        other.decoders[name] = replace(one, ridge=unsure)
    z, c = other.move(features, [1, 2], progress=False)
    assert torch.equal(z, features["z"])
    assert torch.equal(c, features["c"])


def test_what_is_not_moved_any_more_leaves_the_others_alone(systems, shown, monkeypatch):
    system, fmri = systems["mind_diffuser"], shown("test")[0][:2]
    features = system.decode(fmri)
    second = {name: values[1:] for name, values in features.items()}
    other = MindDiffuser(system.sd, system.clip, replace(SMALL, iterations=4, stop="expected"))
    other.decoders = system.decoders
    told = {1: torch.zeros(1), 2: torch.tensor([float("inf"), 0.0])}
    monkeypatch.setattr(
        "minisd.decoding.mind_diffuser.expected_loss", lambda _, some, *__: told[len(some["z"])]
    )
    alone = other.move(second, [2], progress=False)
    both = other.move(features, [1, 2], progress=False)
    for start, moved, whole in zip((features["z"], features["c"]), alone, both, strict=True):
        assert not torch.equal(moved, start[1:])
        assert torch.equal(whole[:1], start[:1])
        assert (moved - whole[1:]).abs().mean() < 1e-3


@pytest.mark.parametrize(("without", "same"), [("z", "c"), ("c", "z")])
def test_what_is_left_out_makes_no_difference(systems, shown, without, same):
    system, fmri = systems["mind_diffuser"], shown("test")[0][:1]
    other = MindDiffuser(system.sd, system.clip, replace(SMALL, iterations=0, without=without))
    features = system.decode(fmri)
    changed = {**features, without: features[without] + 1}
    assert torch.equal(other.draw(features, [0]), other.draw(changed, [0]))
    changed = {**features, same: features[same] + 1}
    assert not torch.allclose(other.draw(features, [0]), other.draw(changed, [0]), atol=0.05)


def test_contrast_is_a_multiple_of_the_distance_from_the_mean(systems, shown, sd):
    plain, fmri = systems["takagi"], shown("test")[0][:2]
    bold = TakagiNishimoto(sd, replace(plain.settings, contrast=2.0))
    bold.decoders, bold._voxels = plain.decoders, plain._voxels
    mean = plain.decoders["c"].ridge.mean.view(1, 32, 128)
    torch.testing.assert_close(
        bold.decode(fmri)["c"] - mean, 2 * (plain.decode(fmri)["c"] - mean), atol=1e-5, rtol=1e-4
    )
    assert torch.equal(bold.decode(fmri)["z"], plain.decode(fmri)["z"])


def test_a_system_loads_from_one_that_decodes_more(systems, make, shown, tmp_path):
    systems["mind_diffuser"].save(tmp_path / "all")
    blur = make("blur").load(tmp_path / "all")
    assert set(blur.decoders) == {"z"}
    with pytest.raises(ValueError, match="the region of z is 'all'"):
        make("takagi").load(tmp_path / "all")


@pytest.mark.parametrize("moved", ["z and c", "z"])
def test_what_stage_two_moves(systems, shown, moved):
    system, fmri = systems["mind_diffuser"], shown("test")[0][:2]
    features = system.decode(fmri)
    other = MindDiffuser(system.sd, system.clip, replace(SMALL, iterations=6, moved=moved))
    other.decoders = system.decoders
    z, c = other.move(features, [1, 2], progress=False)
    assert not torch.equal(z, features["z"])
    assert torch.equal(c, features["c"]) == (moved == "z")


@pytest.mark.parametrize("carried", [None, 1, 0])
def test_gradient_of_stage_two(systems, shown, carried):
    """Whole, it is that of finite differences; without the U-Net, that of a walk whose noise is fixed."""
    system, fmri = systems["mind_diffuser"], shown("test")[0][:1]
    features = {k: v.double().float() for k, v in system.decode(fmri).items()}
    z, c = features["z"].clone().requires_grad_(), features["c"]
    way = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))

    def at(h):
        with torch.no_grad():
            return float(loss_of(system, system.walk(z + h * way, c, [1], 3), features))

    with torch.enable_grad():
        loss = loss_of(system, system.walk(z, c, [1], 3, carried), features).sum()
        found = float((torch.autograd.grad(loss, z)[0] * way).sum())
    numeric = (at(3e-3) - at(-3e-3)) / 6e-3
    if carried is None:
        assert found == pytest.approx(numeric, rel=0.05)
    else:
        assert np.isfinite(found)
        assert found != 0


def test_each_setting_of_the_ridge_fits(sd, shown):
    for ridge in (RIDGE, SelectedSettings(voxels=20, alphas=(100.0,), folds=2, batch=512)):
        system = TakagiNishimoto(sd, TakagiSettings(steps=4, ridge=ridge))
        fmri, seen = shown("train")
        system.fit(fmri, seen, progress=False)
        assert system.decode(fmri[:1])["c"].shape == (1, 32, 128)


def test_bad_input_is_named(systems, shown, sd, clip, tmp_path):
    fmri, seen = shown("train")
    system = systems["takagi"]
    with pytest.raises(ValueError, match="fmri has 5 rows, and 120 pictures"):
        TakagiNishimoto(sd).fit(fmri[:5], seen)
    with pytest.raises(ValueError, match="call fit or load first"):
        TakagiNishimoto(sd).reconstruct(fmri)
    nowhere = {**fmri.regions, "early": np.zeros(fmri.betas.shape[1], bool)}
    with pytest.raises(ValueError, match="region 'early' is empty"):
        TakagiNishimoto(sd).fit(Responses(fmri.betas, nowhere, fmri.voxels), seen)
    with pytest.raises(ValueError, match="region is 'ventral'; it must be one of"):
        TakagiNishimoto(sd).fit(Responses(fmri.betas, {"early": nowhere["all"]}, "x"), seen)
    with pytest.raises(ValueError, match="fitted on subject 1, voxels"):
        system.decode(Responses(fmri.betas, fmri.regions, "subject 2, voxels 0"))
    system.save(tmp_path)
    with pytest.raises(ValueError, match="this system needs"):
        MindDiffuser(sd, clip).load(tmp_path)
    text = (tmp_path / "decoders.json").read_text()
    (tmp_path / "decoders.json").write_text(text.replace(system.checkpoints["z"], "0" * 16))
    with pytest.raises(ValueError, match="fit it again"):
        TakagiNishimoto(sd).load(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"moved": "c"}, "moved is 'c'"),
        ({"stop": "soon"}, "stop is 'soon'"),
        ({"without": "z and c"}, "without is 'z and c'"),
        ({"iterations": -1}, "iterations is -1"),
        ({"candidates": 0}, "candidates is 0"),
        ({"strength": 0.0}, "strength is 0.0"),
    ],
)
def test_bad_settings_are_named(change, told):
    with pytest.raises(ValueError, match=told):
        MindDiffuserSettings(**change)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"layers": (1, 2)}, "2 and 6 entries"),
        ({"units": 0.0}, "units is 0.0"),
        ({"semantic": 1.5}, "semantic is 1.5"),
    ],
)
def test_bad_settings_of_the_view_are_named(change, told):
    with pytest.raises(ValueError, match=told):
        ViewSettings(**change)


def test_layers_of_clip(clip):
    from minisd.decoding.targets import layers

    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    states = clip.vision_model(pixels, "all").hidden_states
    found = layers(clip, pixels, (2, 4))
    block = clip.vision_model.encoder.layers[1]
    inner = states[1] + block.self_attn(block.layer_norm1(states[1]))
    torch.testing.assert_close(found[2], states[2] - inner, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[0], clip.encode_image(pixels))
    with pytest.raises(ValueError, match="layers are 1 to 4"):
        layers(clip, pixels, (5,))
