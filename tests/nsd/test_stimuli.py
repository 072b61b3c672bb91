"""Pictures and captions by 73k id, against what was written."""

import json

import h5py
import numpy as np
import pytest

from minisd.nsd import Root, Stimuli
from tests.nsd import tiny_nsd


@pytest.fixture
def root(tmp_path):
    tiny_nsd.write_tables(tmp_path)
    return Root(tmp_path)


@pytest.fixture
def pictures(root):
    return tiny_nsd.write_pictures(root.path)


def test_pictures_are_read_by_id(root, pictures):
    stimuli = Stimuli(root)
    assert len(stimuli) == 20
    assert stimuli[0].dtype == np.uint8
    assert stimuli[0].shape == (6, 6, 3)
    for i in (0, 7, 19):
        assert np.array_equal(stimuli[i], pictures[i])
    assert np.array_equal(stimuli[np.int64(3)], pictures[3])
    assert np.array_equal(list(stimuli), pictures)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_batches_keep_the_order_of_the_ids(root, pictures, size):
    ids = np.array([5, 19, 0, 5, 2, 1, 19])
    batches = list(Stimuli(root).batches(ids, size))
    assert [len(batch) for batch in batches] == [min(size, 7 - i) for i in range(0, 7, size)]
    assert np.array_equal(np.concatenate(batches), pictures[ids])
    assert list(Stimuli(root).batches([], size)) == []


def test_only_the_pictures_asked_for_are_read(root, pictures):
    path = root.stimuli
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "imgBrick", data=pictures, chunks=(1, 6, 6, 3), compression="gzip"
        )
        where = made.id.get_chunk_info(4).byte_offset
    content = bytearray(path.read_bytes())
    content[where : where + 8] = b"\xff" * 8
    path.write_bytes(content)
    stimuli = Stimuli(root)
    batches = stimuli.batches([3, 4, 5], 1)
    assert np.array_equal(next(batches)[0], pictures[3])
    with pytest.raises(ValueError, match=r"nsd_stimuli.hdf5 .* cannot be read"):
        next(batches)
    assert np.array_equal(stimuli[5], pictures[5])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 20], r"73k id 20 is out of range: nsddata_stimuli/.*/nsd_stimuli.hdf5 has 20 pictures, counted from 0"),
        ([-1], "73k id -1 is out of range"),
        ([1.0], r"73k ids are \[1.0\]; they must be whole numbers in a row"),
        ([[1, 2]], "they must be whole numbers in a row"),
        ([True, False], "they must be whole numbers in a row"),
    ],
)  # fmt: skip
def test_ids_are_checked_before_anything_is_read(root, pictures, ids, message):
    with pytest.raises(ValueError, match=message):
        Stimuli(root).batches(ids)
    if len(ids) == 1 and np.ndim(ids) == 1:
        with pytest.raises(ValueError, match=message):
            Stimuli(root)[ids[0]]
    with pytest.raises(ValueError, match="size is 0"):
        Stimuli(root).batches([1], 0)


def test_pictures_that_are_missing_or_none(root, pictures):
    path = root.stimuli
    for wrong, told in (
        (pictures.transpose(0, 3, 1, 2), r"uint8 \(20, 3, 6, 6\)"),
        (pictures / 255, "float64"),
    ):
        with h5py.File(path, "w") as file:
            file["imgBrick"] = wrong
        with pytest.raises(
            ValueError, match=rf"nsd_stimuli.hdf5: imgBrick is {told}.*it must be uint8"
        ):
            len(Stimuli(root))
    path.unlink()
    stimuli = Stimuli(root)  # nothing is read yet
    with pytest.raises(ValueError, match=r"nsd_stimuli.hdf5 is not there .*nsddata_stimuli folder"):
        stimuli[0]


def test_captions_are_found_by_cocos_id(root):
    written = tiny_nsd.write_captions(root.path)
    stimuli = Stimuli(root)
    for i in range(20):
        assert stimuli.captions(i) == tuple(written[1000 + 7 * i])
    assert len(stimuli.captions(4)) == 5
    assert stimuli.captions(np.int64(4)) == stimuli.captions(4)


def test_cocos_file_is_read_once_and_only_if_needed(root):
    written = tiny_nsd.write_captions(root.path)
    root.captions("val2017").unlink()
    stimuli = Stimuli(root)
    assert stimuli.captions(1) == tuple(written[1007])  # 1 is of train2017, 0 of val2017
    root.captions("train2017").unlink()
    assert stimuli.captions(2) == tuple(written[1014])
    with pytest.raises(
        ValueError,
        match=r"captions_val2017.json is not there .*; it is in COCO's annotations_trainval",
    ):
        stimuli.captions(0)


def test_captions_that_are_missing_or_damaged(root):
    tiny_nsd.write_captions(root.path)
    with pytest.raises(
        ValueError, match=r"73k id 20 is not in .*merged.csv; ids count from 0, and it has 20"
    ):
        Stimuli(root).captions(20)
    path = root.captions("train2017")
    whole = json.loads(path.read_text())
    entries = [entry for entry in whole["annotations"] if entry["image_id"] != 1007]
    path.write_text(json.dumps(whole | {"annotations": entries}))
    with pytest.raises(
        ValueError,
        match=r"captions_train2017.json has no caption for COCO's picture 1007 \(73k id 1\)",
    ):
        Stimuli(root).captions(1)
    for wrong in (
        '{"annotations": [',
        "[]",
        "{}",
        '{"annotations": [{"image_id": 1007}]}',
        '{"annotations": 3}',
    ):
        path.write_text(wrong)
        with pytest.raises(
            ValueError, match=r"captions_train2017.json is none of COCO's files of captions"
        ):
            Stimuli(root).captions(1)
