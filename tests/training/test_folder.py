"""Pictures with captions, out of tables and shards, and everything that can be wrong with them."""

import csv
import io
import json
import struct
import tarfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from minisd.training.folder import PictureFolder


def painted(colour="red", size=(24, 16), mode="RGB"):
    return Image.new(mode, size, colour)


def encoded(image=None, kind="PNG", **options):
    buffer = io.BytesIO()
    (image or painted()).save(buffer, kind, **options)
    return buffer.getvalue()


def write_csv(root, rows, columns=("file_name", "text")):
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def write_shard(path, members):
    """A tar of names and bytes, or of ready members."""
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def root(tmp_path):
    """A folder of three pictures, inside of a folder with a fourth that is none of its business."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    painted("red").save(root / "a.png")
    painted("lime").save(root / "sub" / "b.PNG")
    painted("blue").save(root / "c.png")
    painted("white").save(tmp_path / "private.png")
    write_csv(root, [["a.png", "a red, red wall"], ["sub/b.PNG", " grün "], ["c.png", "blue"]])
    return root


def colours(folder):
    return [(tuple(picture[:, 0, 0].tolist()), caption) for picture, caption in folder]


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
CONTENT = [(RED, "a red, red wall"), (GREEN, "grün"), (BLUE, "blue")]


def test_reads_a_table(root):
    folder = PictureFolder(root, 8)
    assert len(folder) == 3
    picture, _ = folder[0]
    assert picture.shape == (3, 8, 8)
    assert picture.dtype == torch.uint8
    assert colours(folder) == CONTENT

    (root / "metadata.csv").write_bytes(b"\xef\xbb\xbf" + (root / "metadata.csv").read_bytes())
    assert colours(PictureFolder(root, 8)) == CONTENT  # as Excel saves it
    rows = list(csv.DictReader((root / "metadata.csv").open(encoding="utf-8-sig")))
    (root / "metadata.csv").unlink()
    lines = [json.dumps({**row, "other": [1]}, ensure_ascii=False) for row in rows]
    (root / "metadata.jsonl").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    assert colours(PictureFolder(root, 8)) == CONTENT


def test_reads_shards_in_order_whatever_the_order_of_their_members(tmp_path):
    write_shard(
        tmp_path / "01.tar",
        {"x/0.jpg": encoded(painted("blue"), "JPEG", quality=100), "x/0.txt": b"blue"},
    )
    write_shard(
        tmp_path / "00.tar",
        {
            "1.txt": "grün\n".encode(),
            "0.seg.png": encoded(painted("white")),  # another part of the sample
            "0.json": b"{}",
            "0.PNG": encoded(painted("red")),
            "._0.png": b"what macOS adds",
            ".png": b"hidden",
            "0.TXT": b"a red, red wall",
            "1.webp": encoded(painted("lime"), "WEBP", lossless=True),
        },
    )
    folder = PictureFolder(tmp_path, 8)
    names = ["00.tar/1", "00.tar/0", "01.tar/x/0"]
    assert [entry.name for entry in folder.entries] == names
    assert [caption for _, caption in folder] == ["grün", "a red, red wall", "blue"]
    expected = torch.tensor([GREEN, RED, BLUE])
    assert (torch.stack([p[:, 3, 3] for p, _ in folder]) - expected).abs().max() <= 2
    # worker processes have no file in common
    loader = DataLoader(folder, batch_size=3, num_workers=2)
    pictures, captions = next(iter(loader))
    assert torch.equal(pictures, torch.stack([p for p, _ in folder]))
    assert list(captions) == [caption for _, caption in folder]


def test_brings_pictures_of_all_kinds_and_sizes_to_one(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 40, 3), dtype=np.uint8)
    wide = Image.fromarray(pixels)
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera lay on its side
    wide.save(tmp_path / "wide.png")
    wide.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=turned)
    clear = painted((0, 0, 0, 0), mode="RGBA", size=(8, 8))
    clear.save(tmp_path / "clear.png")
    painted(65535 // 2, mode="I;16", size=(3, 500)).save(tmp_path / "grey.png")
    painted(1, mode="P", size=(1, 1)).save(tmp_path / "one.png")
    painted(mode="CMYK", size=(30, 30)).save(tmp_path / "print.jpg")
    names = ["wide.png", "turned.png", "clear.png", "grey.png", "one.png", "print.jpg"]
    write_csv(tmp_path, [[name, "x"] for name in names])
    folder = PictureFolder(tmp_path, 8)
    pictures = torch.stack([picture for picture, _ in folder])
    assert pictures.shape == (6, 3, 8, 8)

    middle = np.array(wide.resize((20, 8), Image.Resampling.LANCZOS).crop((6, 0, 14, 8)))
    expected = torch.from_numpy(middle).permute(2, 0, 1).int()
    assert (pictures[0].int() - expected).abs().max() <= 1
    assert torch.equal(pictures[1], pictures[0])
    assert (pictures[2] == 255).all()
    assert ((pictures[3].int() - 127).abs() <= 1).all()


def row(name="a.png", text="x"):
    return [name, text]


TABLE_FAULTS = {
    "missing": (row("gone.png"), r"gone\.png \(metadata\.csv line 5\) is not there"),
    "a folder": (row("sub"), r"sub \(.*\) is not there"),
    "empty name": (row(" "), "line 5 has no file_name"),
    "empty caption": (row(text=" \t"), r"a\.png \(metadata\.csv line 5\) has no caption"),
    "short row": (["a.png"], r"a\.png \(.*\) has no caption"),
    "long row": (["a.png", "a dog", " running"], "line 5 has more fields than columns"),
    "above": (row("../private.png"), r"\.\./private\.png .* outside of the folder"),
    "absolute": (row("/etc/passwd"), "/etc/passwd .* outside of the folder"),
    "by a link": (row("link.png"), r"link\.png .* outside of the folder"),
    "in circles": (row("circle.png"), r"circle\.png.*(cannot be a file|not there)"),
    "NUL": (row("a\0.png"), "cannot be a file"),
    "too long": (row("a" * 999), "(cannot be a file|not there)"),
    "no picture": (row("text.png"), r"text\.png cannot be read: it is no picture"),
    "empty": (row("empty.png"), r"empty\.png cannot be read: it is no picture"),
    "cut short": (row("half.png"), r"half\.png cannot be read"),
    "half a jpeg": (row("half.jpg"), r"half\.jpg cannot be read"),
    "a bomb": (row("bomb.png"), r"bomb\.png cannot be read: Image size \(400000000 pixels\)"),
    "PostScript": (row("program.png"), r"program\.png cannot be read: it is no picture"),
}


@pytest.fixture
def spoilt(root):
    """The folder with files in it that are no pictures."""
    (root / "link.png").symlink_to(root.parent / "private.png")
    (root / "circle.png").symlink_to("circle.png")
    (root / "text.png").write_text("no picture")
    (root / "empty.png").touch()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name, data in (("png", encoded(noise)), ("jpg", encoded(noise, "JPEG"))):
        (root / f"half.{name}").write_bytes(data[: len(data) // 2])
    bomb = bytearray(encoded())  # says to be 20,000 pixels high and wide
    bomb[16:24] = struct.pack(">II", 20_000, 20_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    (root / "bomb.png").write_bytes(bomb)
    (root / "program.png").write_bytes(encoded(kind="EPS"))
    return root


@pytest.mark.parametrize("kind", TABLE_FAULTS)
def test_names_what_is_wrong_with_a_row_and_leaves_it_out_if_asked(spoilt, kind):
    fields, message = TABLE_FAULTS[kind]
    with (spoilt / "metadata.csv").open("a", newline="") as file:
        csv.writer(file).writerow(fields)
    with pytest.raises(ValueError, match=rf"has 1 fault: .*{message}.* on_error='skip'"):
        PictureFolder(spoilt, 8)
    with pytest.warns(UserWarning, match=rf"has 1 fault: .*{message}.*left out") as told:
        folder = PictureFolder(spoilt, 8, on_error="skip")
    assert colours(folder) == CONTENT
    assert [w.filename for w in told] == [__file__]


def test_lists_ten_faults_and_counts_all(root):
    write_csv(root, [["a.png", "red"], *([f"{i}.png", "x"] for i in range(12))])
    with pytest.raises(ValueError, match=r"12 faults: 0\.png.* 9\.png [^;]*; and 2 more") as caught:
        PictureFolder(root, 8)
    assert "10.png" not in str(caught.value)
    with pytest.warns(UserWarning, match="12 faults"):
        assert len(PictureFolder(root, 8, "skip")) == 1
    write_csv(root, [["gone.png", "x"]])
    with (
        pytest.warns(UserWarning, match="1 fault:"),
        pytest.raises(ValueError, match="no picture with a caption left"),
    ):
        PictureFolder(root, 8, "skip")


def test_names_lines_of_json_that_are_none(root):
    (root / "metadata.csv").unlink()
    lines = [
        '{"file_name": "a.png", "text": "red"}', '{"file_name": "a.png", "te', "7",
        '{"file_name": 7, "text": "x"}', '{"file_name": "a.png", "text": ["x"]}',
        '{"file_name": "a.png"}', '{"file_name": "\\ud800", "text": "x"}', "[" * 99999,
    ]  # fmt: skip
    (root / "metadata.jsonl").write_bytes("\n".join(lines).encode() + b"\n\xff")
    with pytest.warns(UserWarning, match="8 faults") as told:
        assert len(PictureFolder(root, 8, "skip")) == 1
    text = str(told[0].message)
    for line in (2, 3, 8, 9):
        assert f"metadata.jsonl line {line} is no JSON object" in text
    assert "line 4 has no file_name" in text
    assert "a.png (metadata.jsonl line 5) has no caption" in text
    assert "a.png (metadata.jsonl line 6) has no caption" in text
    assert r"'\ud800' (metadata.jsonl line 7) cannot be a file" in text


def link(name, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


SHARD_FAULTS = {
    "no caption": ({"1.png": encoded()}, "0.tar/1 has no caption"),
    "no picture": ({"1.txt": b"x"}, "0.tar/1 has no picture"),
    "empty caption": ({"1.png": encoded(), "1.txt": b" \n"}, "0.tar/1 has no caption"),
    "caption in Latin-1": ({"1.png": encoded(), "1.txt": b"gr\xfcn"}, "0.tar/1 .* no UTF-8"),
    "no such picture": ({"1.png": b"x", "1.txt": b"x"}, "0.tar/1 cannot be read: it is no"),
    "two pictures": ({"1.png": encoded(), "1.jpg": b"", "1.txt": b"x"}, "0.tar/1 has two pictures"),
    "a link": (
        {"1.png": link("1.png", "../private.png"), "1.txt": b"x"},
        r"0\.tar/1\.png is no ordinary file",
    ),
}
GOOD = {"0.png": encoded(), "0.txt": b"red"}


@pytest.mark.parametrize("kind", SHARD_FAULTS)
def test_names_what_is_wrong_in_a_shard_and_leaves_it_out_if_asked(tmp_path, kind):
    members, message = SHARD_FAULTS[kind]
    write_shard(tmp_path / "0.tar", members | GOOD)
    with pytest.raises(ValueError, match=rf"has 1 fault: .*{message}"):
        PictureFolder(tmp_path, 8)
    with pytest.warns(UserWarning, match=rf"has 1 fault: .*{message}"):
        folder = PictureFolder(tmp_path, 8, "skip")
    assert colours(folder) == [(RED, "red")]


def test_reads_what_there_is_of_a_damaged_shard(tmp_path):
    path = write_shard(tmp_path / "0.tar", GOOD | {"1.png": encoded(), "1.txt": b"x" * 2000})
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        ends = [archive.getmember(name).offset_data for name in ("1.png", "1.txt")]
    spoilt = bytearray(whole)
    spoilt[ends[0] - 512 : ends[0]] = b"x" * 512
    cases = {
        "in a picture": whole[: ends[0] + 20],
        "in a header": whole[: ends[1] - 300],
        "at a border": whole[: ends[0] - 512],
        "in a caption": whole[: ends[1] + 700],
        "not cut, but overwritten": bytes(spoilt),
    }
    for data in cases.values():
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"0\.tar is damaged, cut short"):
            PictureFolder(tmp_path, 8)
        with pytest.warns(UserWarning, match=r"0\.tar is damaged, cut short"):
            assert colours(PictureFolder(tmp_path, 8, "skip")) == [(RED, "red")]
    for data in (b"", b"no archive at all" * 99):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"0\.tar is damaged, cut short or compressed"):
            PictureFolder(tmp_path, 8)
    path.write_bytes(bytes(10240))
    with pytest.raises(ValueError, match=r"no picture with a caption$"):
        PictureFolder(tmp_path, 8)


def test_nothing_of_a_shard_is_written_anywhere(tmp_path):
    (tmp_path / "deep").mkdir()
    members = {
        "../up.png": encoded(),
        "../up.txt": b"up",
        "/abs.png": encoded(),
        "/abs.txt": b"abs",
    }
    write_shard(tmp_path / "deep" / "0.tar", members)
    before = sorted(tmp_path.rglob("*"))
    assert colours(PictureFolder(tmp_path / "deep", 8)) == [(RED, "up"), (RED, "abs")]
    assert sorted(tmp_path.rglob("*")) == before


def test_refuses_a_folder_that_cannot_be_read_at_all(root, tmp_path):
    refused = [
        (tmp_path / "none", 8, "raise", "is no folder"),
        (root / "a.png", 8, "raise", "is no folder"),
        (root / "sub", 8, "raise", "has neither a table nor shards"),
        (root, 9, "raise", "size is 9"),
        (root, 8, "ignore", "on_error is 'ignore'"),
    ]
    for folder, size, on_error, message in refused:
        with pytest.raises(ValueError, match=message):
            PictureFolder(folder, size, on_error)
    for text, message in [
        ("", "no column file_name and no column text"),
        ("file_name,caption\na.png,x\n", "has no column text"),
        ('file_name,text\na.png,"x\n', "no table in UTF-8"),
        ("file_name,text\na.png,gr\xfcn\n", "no table in UTF-8"),
        ("file_name,text\n", "no picture with a caption$"),
    ]:
        (root / "metadata.csv").write_text(text, encoding="latin-1")
        with pytest.raises(ValueError, match=message):
            PictureFolder(root, 8, "skip")
    (root / "metadata.jsonl").touch()
    with pytest.raises(ValueError, match=r"has metadata\.csv and metadata\.jsonl"):
        PictureFolder(root, 8)
    (root / "metadata.jsonl").unlink()
    write_shard(root / "0.tar", GOOD)
    with pytest.raises(ValueError, match=r"has metadata\.csv and shards"):
        PictureFolder(root, 8)


def test_the_fingerprint_is_of_pictures_and_captions(tmp_path):
    found = []
    for name, colour, caption in (("a", 1, "x"), ("b", 1, "x"), ("c", 2, "x"), ("d", 1, "y")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (16, 16), (colour, 0, 0)).save(tmp_path / name / "0.png")
        (tmp_path / name / "metadata.csv").write_text(f"file_name,text\n0.png,{caption}\n")
        found.append(PictureFolder(tmp_path / name, 8).digest())
    assert found[0] == found[1]
    assert len(set(found)) == 3
