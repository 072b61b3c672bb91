"""Betas out of HDF5, NIfTI and MGH, against the numbers that were written; the traps; damaged files."""

import gzip
import tracemalloc

import h5py
import nibabel as nib
import numpy as np
import pytest

import minisd.nsd.betas
from minisd.nsd import Root, read_betas
from minisd.nsd.betas import beta_files
from tests.nsd import tiny_nsd

KINDS = ["hdf5", "nii.gz"]


@pytest.fixture
def data():
    return tiny_nsd.session_of_betas(np.random.default_rng(0))


@pytest.fixture
def mask():
    mask = np.random.default_rng(1).random(tiny_nsd.SHAPE) < 0.3
    mask[1, 2, 3] = True
    return mask


def percent(data, mask):
    return (data[mask].T / 300).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "version", ["betas_assumehrf", "betas_fithrf", "betas_fithrf_GLMdenoise_RR"]
)
def test_betas_are_percent_in_the_voxels_of_the_mask(tmp_path, data, mask, kind, version):
    tiny_nsd.write_betas(tmp_path, 1, 3, data, version, [kind])
    betas = read_betas(Root(tmp_path), 1, 3, mask, version)
    assert betas.dtype == np.float32
    assert betas.shape == (9, mask.sum())
    assert np.array_equal(betas, percent(data, mask))
    assert betas.min() == np.float32(-32768 / 300)
    assert betas.max() == np.float32(32767 / 300)


def test_nibabel_and_h5py_by_hand_give_the_same(tmp_path, data, mask):
    folder = tiny_nsd.write_betas(tmp_path, 1, 3, data)
    betas = read_betas(Root(tmp_path), 1, 3, mask)
    by_nibabel = np.asarray(nib.load(folder / "betas_session03.nii.gz").dataobj)[mask] / 300
    with h5py.File(folder / "betas_session03.hdf5") as file:
        assert file["betas"].shape == (9, *tiny_nsd.SHAPE[::-1])
        by_h5py = file["betas"][:].T[mask] / 300
    assert np.allclose(betas, by_nibabel.T, rtol=1e-6)
    assert np.allclose(betas, by_h5py.T, rtol=1e-6)


@pytest.mark.parametrize("block", [1, 100, 2**26])
@pytest.mark.parametrize(
    "chunks", [None, (27, 1, 1, 1), (1, 5, 7, 6), (4, 2, 3, 4), (9, 5, 7, 6), (2, 5, 7, 6), (9, 1, 1, 4)]
)  # fmt: skip
def test_chunks_of_any_shape_give_the_same(tmp_path, data, mask, chunks, block, monkeypatch):
    root = Root(tmp_path)
    tiny_nsd.write_hdf5(
        root.betas(1, 1), data, chunks, **({"compression": "gzip"} if chunks else {})
    )
    monkeypatch.setattr(minisd.nsd.betas, "BLOCK", block)
    assert np.array_equal(read_betas(root, 1, 1, mask), percent(data, mask))
    one = np.zeros(tiny_nsd.SHAPE, bool)
    one[5, 6, 4] = True
    assert np.array_equal(read_betas(root, 1, 1, one), percent(data, one))


@pytest.mark.parametrize(("kind", "written"), [("<i2", True), (">i2", True), ("<i2", False)])
def test_bytes_in_any_order_and_chunks_never_written(tmp_path, data, mask, kind, written):
    root = Root(tmp_path)
    path = root.betas(1, 1)
    path.parent.mkdir(parents=True)
    data[1, 2, 3] = data[1, 2, 3] if written else 0
    with h5py.File(path, "w") as file:
        betas = file.create_dataset("betas", data.T.shape, kind, chunks=(9, 1, 1, 1))
        for x, y, z in np.ndindex(tiny_nsd.SHAPE):
            if written or (x, y, z) != (1, 2, 3):
                betas[:, z, y, x] = data[x, y, z]
    assert mask[1, 2, 3]
    assert np.array_equal(read_betas(root, 1, 1, mask), percent(data, mask))


def test_of_hdf5_only_the_chunks_of_the_mask_are_read(tmp_path, data):
    root = Root(tmp_path)
    path = root.betas(1, 1)
    tiny_nsd.write_hdf5(path, data, compression="gzip")
    with h5py.File(path) as file:
        where = file["betas"].id.get_chunk_info_by_coord((0, 0, 0, 0)).byte_offset
    content = bytearray(path.read_bytes())
    content[where : where + 4] = b"\xff" * 4
    path.write_bytes(content)
    mask = np.ones(tiny_nsd.SHAPE, bool)
    with pytest.raises(ValueError, match=r"betas_session01.hdf5 .* cannot be read .*get it again"):
        read_betas(root, 1, 1, mask)
    mask[0, 0, 0] = False
    assert np.array_equal(read_betas(root, 1, 1, mask), percent(data, mask))


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_bounded(tmp_path, kind):
    root = Root(tmp_path)
    data = np.random.default_rng(0).integers(-900, 900, (30, 30, 30, 100), np.int16)
    tiny_nsd.write_betas(tmp_path, 1, 1, data, kinds=[kind])
    mask = np.zeros((30, 30, 30), bool)
    mask[:5, :5, :5] = True
    size = data.nbytes
    del data
    read_betas(root, 1, 1, mask)  # imports
    tracemalloc.start()
    read_betas(root, 1, 1, mask)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 5


def test_hdf5_is_read_when_both_are_there(tmp_path, data, mask):
    folder = tiny_nsd.write_betas(tmp_path, 1, 3, data)
    (folder / "betas_session03.nii.gz").write_bytes(b"")
    assert np.array_equal(read_betas(Root(tmp_path), 1, 3, mask), percent(data, mask))


def test_a_big_endian_file_is_read(tmp_path, data, mask):
    root = Root(tmp_path)
    path = root.betas(1, 1, kind="nii.gz")
    path.parent.mkdir(parents=True)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti1Image(data, tiny_nsd.AFFINE, header), path)
    assert np.array_equal(read_betas(root, 1, 1, mask), percent(data, mask))


def write_surface(root, trials=(9, 9)):
    rng = np.random.default_rng(0)
    sides = {}
    for (side, count), n in zip(tiny_nsd.VERTICES.items(), trials, strict=True):
        sides[side] = rng.normal(2.2, 3.3, (count, n)).astype(np.float32)
        path = root.betas(1, 1, space="fsaverage", hemisphere=side)
        tiny_nsd.save_mgh(path, sides[side][:, None, None])
    return sides


def test_the_average_brain_is_in_percent_already(tmp_path):
    root = Root(tmp_path)
    sides = write_surface(root)
    mask = np.random.default_rng(1).random(20) < 0.5
    betas = read_betas(root, 1, 1, mask, space="fsaverage")
    assert betas.dtype == np.float32
    assert np.array_equal(betas, np.concatenate([sides["lh"], sides["rh"]])[mask].T)
    mask[:11] = False
    assert np.array_equal(read_betas(root, 1, 1, mask, space="fsaverage"), sides["rh"][mask[11:]].T)


def test_files_that_hold_a_session(tmp_path, data):
    root = Root(tmp_path)
    write_surface(root)
    found = [path.name for path in beta_files(root, 1, 1, space="fsaverage")]
    assert found == ["lh.betas_session01.mgh", "rh.betas_session01.mgh"]
    for kind in reversed(KINDS):  # HDF5 is read where both are there
        folder = tiny_nsd.write_betas(tmp_path, 1, 2, data, kinds=[kind])
        assert beta_files(root, 1, 2) == (folder / f"betas_session02.{kind}",)
    with pytest.raises(ValueError, match=r"the sessions 2, and .*session03.hdf5 and .*nii.gz not"):
        beta_files(root, 1, 3)


def test_a_vertex_without_a_number_is_named(tmp_path):
    root = Root(tmp_path)
    sides = write_surface(root)
    sides["rh"][4, 7] = np.nan
    tiny_nsd.save_mgh(
        root.betas(1, 1, space="fsaverage", hemisphere="rh"), sides["rh"][:, None, None]
    )
    mask = np.ones(20, bool)
    with pytest.raises(
        ValueError,
        match=r"rh.betas_session01.mgh has no number \(NaN\) in 1 vertices .* \[4\] of this",
    ):
        read_betas(root, 1, 1, mask, space="fsaverage")
    kept = read_betas(root, 1, 1, mask, space="fsaverage", allow_nan=True)
    assert np.argwhere(np.isnan(kept)).tolist() == [[7, 11 + 4]]
    mask[11 + 4] = False
    assert np.isfinite(read_betas(root, 1, 1, mask, space="fsaverage")).all()


def test_hemispheres_that_do_not_fit(tmp_path):
    root = Root(tmp_path)
    write_surface(root, (9, 8))
    with pytest.raises(
        ValueError, match=r"lh.betas_session01.mgh and .*rh.betas_session01.mgh have 9 and 8 trials"
    ):
        read_betas(root, 1, 1, np.ones(20, bool), space="fsaverage")
    write_surface(root)
    with pytest.raises(ValueError, match=r"mask has 11 vertices; .* have 11 and 9"):
        read_betas(root, 1, 1, np.ones(11, bool), space="fsaverage")
    path = root.betas(1, 1, space="fsaverage", hemisphere="rh")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(
        ValueError, match=r"rh.betas_session01.mgh \(300 bytes\) cannot be read .*get it again"
    ):
        read_betas(root, 1, 1, np.ones(20, bool), space="fsaverage")
    tiny_nsd.save_mgh(path, np.zeros((9, 1, 1, 9)), np.int16)
    with pytest.raises(
        ValueError, match=r"rh.betas_session01.mgh holds >i2; NSD's are float32, in percent"
    ):
        read_betas(root, 1, 1, np.ones(20, bool), space="fsaverage")
    tiny_nsd.save_mgh(path, np.zeros((9, 2, 1, 9)))
    with pytest.raises(
        ValueError,
        match=r"rh.betas_session01.mgh has the shape \(9, 2, 1, 9\); it must be \(vertices",
    ):
        read_betas(root, 1, 1, np.ones(20, bool), space="fsaverage")
    path.unlink()
    with pytest.raises(ValueError, match=r"rh.betas_session01.mgh not .root"):
        read_betas(root, 1, 1, np.ones(20, bool), space="fsaverage")


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_that_does_not_fit(tmp_path, data, mask, kind):
    root = Root(tmp_path)
    tiny_nsd.write_betas(tmp_path, 1, 3, data, kinds=[kind])
    with pytest.raises(
        ValueError,
        match=rf"betas_session03.{kind} has the shape .* and mask is \(5, 7, 6\): the axes of one .* give mask.T",
    ):
        read_betas(root, 1, 3, mask.T)
    with pytest.raises(
        ValueError, match=r"mask is \(6, 7, 4\); take a mask of the same subject and space"
    ):
        read_betas(root, 1, 3, mask[..., :4])
    for bad in (mask.astype(int), mask[0], np.zeros_like(mask)):
        with pytest.raises(
            ValueError,
            match=r"mask is (int64|bool) \(.*with \d+ voxels; for func1pt8mm it must be bool",
        ):
            read_betas(root, 1, 3, bad)
    with pytest.raises(ValueError, match="for fsaverage it must be bool, with 1 axes"):
        read_betas(root, 1, 3, mask, space="fsaverage")


def test_another_order_of_axes_is_seen(tmp_path, data, mask):
    root = Root(tmp_path)
    message = r"has the shape .*: the axes of one of them are in another order than NSD's"
    for wrong in (data.T, data.transpose(2, 1, 0, 3)):
        tiny_nsd.write_hdf5(root.betas(1, 1), wrong, None)
        with pytest.raises(ValueError, match="betas_session01.hdf5 " + message):
            read_betas(root, 1, 1, mask)
    root.betas(1, 1).unlink()
    tiny_nsd.save_nifti(root.betas(1, 1, kind="nii.gz"), np.moveaxis(data, -1, 0), np.int16)
    with pytest.raises(ValueError, match=r"betas_session01.nii.gz " + message):
        read_betas(root, 1, 1, mask)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_are_not_nsds(tmp_path, data, mask, kind):
    root = Root(tmp_path)
    path = root.betas(1, 1, kind=kind)
    if kind == "hdf5":
        tiny_nsd.write_hdf5(path, data / 300)
    else:
        tiny_nsd.save_nifti(path, data / 300, np.float64)
    with pytest.raises(
        ValueError, match=rf"betas_session01.{kind} holds float64; NSD's are int16, of 300 times"
    ):
        read_betas(root, 1, 1, mask)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_without_a_sign_are_not_nsds(tmp_path, data, mask, kind):
    root = Root(tmp_path)
    path = root.betas(1, 1, kind=kind)
    unsigned = np.abs(data).astype(np.uint16)
    if kind == "hdf5":
        tiny_nsd.write_hdf5(path, unsigned)
    else:
        tiny_nsd.save_nifti(path, unsigned, np.uint16)
    with pytest.raises(ValueError, match=rf"betas_session01.{kind} holds uint16; NSD's are int16"):
        read_betas(root, 1, 1, mask)


def test_a_nifti_whose_numbers_begin_later(tmp_path, data, mask):
    image = nib.Nifti1Image(data, tiny_nsd.AFFINE)
    image.header.set_data_offset(512)
    path = Root(tmp_path).betas(1, 1, kind="nii.gz")
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(image.to_bytes()))
    assert np.array_equal(read_betas(Root(tmp_path), 1, 1, mask), percent(data, mask))


def test_a_nifti_that_scales_or_has_other_axes(tmp_path, data, mask):
    root = Root(tmp_path)
    path = root.betas(1, 1, kind="nii.gz")
    tiny_nsd.save_nifti(path, data[..., 0], np.int16)
    with pytest.raises(
        ValueError, match=r"has the shape \(6, 7, 5\); it must be \(X, Y, Z, trials\)"
    ):
        read_betas(root, 1, 1, mask)
    image = nib.Nifti1Image(data, tiny_nsd.AFFINE)
    image.header.set_slope_inter(1 / 300, 0)
    path.write_bytes(gzip.compress(image.to_bytes()))
    with pytest.raises(ValueError, match=r"has a header that scales its values by \(0.0033"):
        read_betas(root, 1, 1, mask)


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.9, -1, -9])
def test_a_truncated_nifti_is_named_before_it_is_read(tmp_path, data, mask, keep):
    folder = tiny_nsd.write_betas(tmp_path, 1, 3, data, kinds=["nii.gz"])
    path = folder / "betas_session03.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(len(whole) * keep)])
    with pytest.raises(ValueError, match=r"^nsddata_betas.*betas_session03.nii.gz .*get it again"):
        read_betas(Root(tmp_path), 1, 3, mask)


def test_a_nifti_with_a_changed_byte_or_the_wrong_length(tmp_path, data, mask):
    path = tiny_nsd.write_betas(tmp_path, 1, 3, data, kinds=["nii.gz"]) / "betas_session03.nii.gz"
    whole = gzip.decompress(path.read_bytes())
    stored = bytearray(gzip.compress(whole, 0))  # not compressed, so that a byte is a number's
    stored[-2000] ^= 1
    path.write_bytes(stored)
    with pytest.raises(
        ValueError, match=r"betas_session03.nii.gz .* cannot be read .*CRC.*get it again"
    ):
        read_betas(Root(tmp_path), 1, 3, mask)
    path.write_bytes(gzip.compress(whole[:-2]))
    with pytest.raises(ValueError, match=rf"does not end as gzip ends {len(whole):,} bytes"):
        read_betas(Root(tmp_path), 1, 3, mask)


def test_a_truncated_hdf5(tmp_path, data, mask):
    path = tiny_nsd.write_betas(tmp_path, 1, 3, data) / "betas_session03.hdf5"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(
        ValueError, match=r"betas_session03.hdf5 .* cannot be read .*truncated.*get it again"
    ):
        read_betas(Root(tmp_path), 1, 3, mask)


def test_a_missing_session_is_named(tmp_path, data, mask):
    for session in (1, 2, 4):
        tiny_nsd.write_betas(tmp_path, 1, session, data, kinds=["nii.gz"])
    with pytest.raises(
        ValueError,
        match=r"subject 1 has of betas_fithrf_GLMdenoise_RR in func1pt8mm the sessions 1-2, 4, and "
        r"nsddata_betas/.*betas_session03.hdf5 and .*betas_session03.nii.gz not .*; get session 3, or leave it out",
    ):
        read_betas(Root(tmp_path), 1, 3, mask)
    with pytest.raises(
        ValueError, match="has of betas_fithrf in func1pt8mm the sessions none, and"
    ):
        read_betas(Root(tmp_path), 1, 1, mask, "betas_fithrf")
    with pytest.raises(ValueError, match="version is 'b3'"):
        read_betas(Root(tmp_path), 1, 1, mask, "b3")
