"""Maps and datasets; what damaged files say."""

import h5py
import numpy as np
import pytest

from minisd.nsd import Root
from minisd.nsd.files import dataset, read_map
from tests.nsd import tiny_nsd


@pytest.fixture
def volume():
    return np.random.default_rng(0).normal(size=tiny_nsd.SHAPE).astype(np.float32)


def test_maps_are_volumes_or_vertices(tmp_path, volume):
    root = Root(tmp_path)
    tiny_nsd.save_nifti(root.statistic(1, "R2"), volume, np.float32)
    assert np.array_equal(read_map(root, root.statistic(1, "R2")), volume)
    path = root.statistic(1, "R2", space="fsaverage", hemisphere="lh")
    tiny_nsd.save_mgh(path, volume[0, 0][:, None, None])
    assert np.array_equal(read_map(root, path), volume[0, 0])


def test_maps_of_another_shape(tmp_path, volume):
    root = Root(tmp_path)
    tiny_nsd.save_nifti(root.statistic(1, "R2"), volume[..., None].repeat(2, axis=3), np.float32)
    with pytest.raises(
        ValueError, match=r"R2.nii.gz has the shape \(6, 7, 5, 2\); it must be a volume"
    ):
        read_map(root, root.statistic(1, "R2"))
    path = root.statistic(1, "R2", space="fsaverage", hemisphere="lh")
    tiny_nsd.save_mgh(path, volume)
    with pytest.raises(
        ValueError, match=r"lh.R2.mgh has the shape \(6, 7, 5\); it must have one number a vertex"
    ):
        read_map(root, path)


@pytest.mark.parametrize("keep", [0, 20, 0.5, -4])
def test_a_map_cut_short(tmp_path, volume, keep):
    root = Root(tmp_path)
    path = root.statistic(1, "ncsnr")
    tiny_nsd.save_nifti(path, volume, np.float32)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(len(whole) * keep)])
    message = r"func1pt8mm/betas_fithrf_GLMdenoise_RR/ncsnr.nii.gz \([\d,]+ bytes\) cannot be read .*get it again"
    with pytest.raises(ValueError, match=message):
        read_map(root, path)
    with pytest.raises(ValueError, match=r"R2.nii.gz is not there .*; fetch it$"):
        read_map(root, root.statistic(1, "R2"), "fetch it")


def test_a_changed_byte_is_seen(tmp_path, volume):
    root = Root(tmp_path)
    path = root.statistic(1, "ncsnr")
    tiny_nsd.save_nifti(path, volume, np.float32)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"ncsnr.nii.gz .* cannot be read .*get it again"):
        read_map(root, path)


def write_hdf5(path, **content):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, data in content.items():
            file[name] = data


def test_a_dataset_is_read_in_part(tmp_path):
    root = Root(tmp_path)
    data = np.arange(120).reshape(2, 3, 4, 5)
    write_hdf5(root.stimuli, imgBrick=data)
    with dataset(root, root.stimuli, "imgBrick", "(a, b, c, d)") as found:
        assert np.array_equal(found[1], data[1])


def test_a_damaged_hdf5_is_named(tmp_path):
    root = Root(tmp_path)
    path = root.stimuli
    path.parent.mkdir(parents=True)
    with (
        pytest.raises(ValueError, match=r"nsd_stimuli.hdf5 is not there .*; fetch it$"),
        dataset(root, path, "imgBrick", "axes", "fetch it"),
    ):
        pass
    for content, message in (
        ({"other": np.zeros(3)}, r"nsd_stimuli.hdf5 has no dataset 'imgBrick', but \['other'\]"),
        ({"imgBrick": np.zeros((2, 3))}, r"imgBrick has the shape \(2, 3\); it must be axes"),
        ({"imgBrick/group": np.zeros(2)}, "imgBrick has the shape no numbers; it must be axes"),
    ):
        write_hdf5(path, **content)
        with pytest.raises(ValueError, match=message), dataset(root, path, "imgBrick", "axes"):
            pass
    write_hdf5(path, imgBrick=np.zeros((20, 8, 8, 3)))
    path.write_bytes(path.read_bytes()[:-100])
    with (
        pytest.raises(
            ValueError, match=r"nsd_stimuli.hdf5 \(.* bytes\) cannot be read .*get it again"
        ),
        dataset(root, path, "imgBrick", "axes"),
    ):
        pass


def test_damage_within_a_dataset_is_named_when_it_is_met(tmp_path):
    root = Root(tmp_path)
    path = root.stimuli
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "imgBrick", data=np.ones((4, 8, 8, 3)), chunks=(1, 8, 8, 3), compression="gzip"
        )
        where = made.id.get_chunk_info(2).byte_offset
    content = bytearray(path.read_bytes())
    content[where : where + 8] = b"\xff" * 8
    path.write_bytes(content)
    with dataset(root, path, "imgBrick", "axes") as found:
        assert found[0].sum() == 192
    with (
        pytest.raises(ValueError, match=r"nsd_stimuli.hdf5 .* cannot be read"),
        dataset(root, path, "imgBrick", "axes") as found,
    ):
        found[2]
