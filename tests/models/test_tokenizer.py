"""The tokenizer against transformers' CLIPTokenizer, its files, and what it refuses."""

import gzip
import json
import unicodedata
import warnings
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from minisd.models.byte_pairs import BYTE_TO_CHARACTER, END, START, number_tokens
from minisd.models.tokenizer import Tokenizer, train_tokenizer

CAPTIONS = ["A red circle above a blue square.", "Two circles, it's green!", "a photo of 12 cats"]
CAPTIONS += ["ein grünes Viereck", "un carré à côté d'un cercle", "青い円と赤い四角 🔵🔴", "ΣΟΦΟΣ"]
PIECES = [*CAPTIONS, "'s", "'LL", "''d", "½", "e\u0301", "👍🏽", " ", "\n", "\x1c", "</w>", START]
PIECES += [END, START.upper(), "<|", "c" * 60]
# tokenizers knows the marks of an older Unicode, and so brings the newer ones into no order
characters = st.characters(exclude_categories=["Cs", "Cn"]).filter(
    lambda c: not unicodedata.combining(c) or unicodedata.ucd_3_2_0.combining(c)
)
texts = st.lists(st.sampled_from(PIECES) | st.text(characters, max_size=8)).map("".join)


@pytest.fixture(scope="module")
def ours():
    return train_tokenizer(CAPTIONS, 590, max_length=16)


@pytest.fixture(scope="module")
def folder(ours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "tokenizer"
    ours.save(folder)
    return folder


@pytest.fixture(scope="module")
def theirs(folder):
    return CLIPTokenizer.from_pretrained(folder)


@settings(deadline=None, max_examples=400)
@given(text=texts)
def test_ids_and_texts_are_transformers(ours, theirs, text):
    ids = ours.encode(text)
    assert [ours.start_id, *ids, ours.end_id] == theirs(text)["input_ids"]
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


@settings(deadline=None, max_examples=200)
@given(ids=st.lists(st.integers(0, 589), max_size=20))
def test_any_ids_decode_as_in_transformers(ours, theirs, ids):
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


@settings(deadline=None, max_examples=100)
@given(prompts=st.lists(texts, min_size=1, max_size=4))
@pytest.mark.filterwarnings("ignore:texts")
def test_batches_are_transformers(ours, theirs, prompts):
    expected = theirs(prompts, padding="max_length", truncation=True, return_tensors="pt")
    torch.testing.assert_close(ours(prompts), expected["input_ids"], rtol=0, atol=0)


def test_special_tokens_written_out_are_found_as_in_transformers(ours, theirs):
    text = f"a{START}b {END.upper()} c"
    ids = ours.encode(text)
    assert ids == theirs(text)["input_ids"][1:-1]
    assert (ids[1], ids[3]) == (ours.start_id, ours.end_id)


def test_captions_come_back_but_for_case_and_spaces(ours):
    for caption in CAPTIONS:
        back = ours.decode(ours.encode(caption))
        expected = caption.lower().replace("ς", "σ")  # see clean()
        assert back.replace(" ", "") == expected.replace(" ", "")
    assert ours.decode(ours(["A red  CIRCLE"])[0]) == "a red circle"


def test_training_merges_what_is_frequent():
    tokenizer = train_tokenizer(["red"] * 5 + ["blue"] * 2 + [START], 514 + 3)
    assert tokenizer.merges[:2] == [("e", "d</w>"), ("r", "ed</w>")]
    assert tokenizer.encode("Red") == [tokenizer.vocabulary["red</w>"]]
    assert (tokenizer.start_id, tokenizer.end_id, len(tokenizer)) == (515, 516, 517)


def test_prompts_are_filled_up_with_the_end_token(ours):
    row = ours(["", "a"])
    assert row.shape == (2, 16)
    assert row.dtype == torch.int64
    assert row[0].tolist() == [ours.start_id] + [ours.end_id] * 15
    assert row[1].tolist() == [ours.start_id, *ours.encode("a")] + [ours.end_id] * 14


def test_a_long_prompt_keeps_its_end_token_and_the_lost_words_are_told(ours):
    fits, long = "a red circle " * 4 + "a red", "a red circle " * 4 + "a blueblue SQUARE, it's"
    room = 14
    assert len(ours.encode(fits)) == room
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ours([fits])[0, -1] == ours.end_id
    assert (
        len(ours.encode("a red circle " * 4 + "a")) == 13
    )  # so the second half of blueblue is cut
    with pytest.warns(
        UserWarning, match=r"^texts\[1\] has \d+ tokens and the model reads 14; "
    ) as told:
        rows = ours([fits, long])
    assert len(told) == 1
    assert str(told[0].message).endswith('it does not see: "blueblue square , it \'s"')
    assert told[0].filename == __file__
    assert rows[1].tolist() == [ours.start_id, *ours.encode(long)[:room], ours.end_id]
    with pytest.warns(UserWarning, match="it does not see") as told:
        ours([long, fits, "x" * 20])
    assert [str(w.message)[:8] for w in told] == ["texts[0]", "texts[2]"]
    assert "x" * 20 in str(told[1].message)


def test_a_folder_comes_back_and_holds_clips_four_files(ours, folder, tmp_path):
    names = ["merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    back = Tokenizer.from_folder(folder)
    assert (back.vocabulary, back.merges) == (ours.vocabulary, ours.merges)
    assert back.max_length == 16
    back.save(tmp_path)  # into a folder that is there
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_the_one_file_of_transformers_5_is_read(ours, theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    assert not (tmp_path / "vocab.json").exists()
    back = Tokenizer.from_folder(tmp_path)
    assert (back.vocabulary, back.merges) == (ours.vocabulary, ours.merges)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert Tokenizer.from_folder(tmp_path).merges == ours.merges
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Unigram"}}')
    with pytest.raises(ValueError, match=r"tokenizer.json has no byte-pair vocabulary"):
        Tokenizer.from_folder(tmp_path)


def test_lengths_that_a_folder_may_tell(ours, tmp_path):
    ours.save(tmp_path)
    for told, length in ((None, 77), (int(1e30), 77), (20, 20)):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": told}))
        assert Tokenizer.from_folder(tmp_path).max_length == length
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "special_tokens_map.json").unlink()
    assert Tokenizer.from_folder(tmp_path).max_length == 77


def test_a_bad_folder_is_refused(ours, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither vocab.json with merges.txt nor"):
        Tokenizer.from_folder(tmp_path)
    ours.save(tmp_path)

    def change(name, text, match):
        before = (tmp_path / name).read_bytes()
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=match):
            Tokenizer.from_folder(tmp_path)
        (tmp_path / name).write_bytes(before)

    merges = (tmp_path / "merges.txt").read_text(encoding="utf-8")
    vocabulary = (tmp_path / "vocab.json").read_text(encoding="utf-8")
    change("vocab.json", vocabulary[:50], r"vocab.json is not a whole JSON file")
    change("vocab.json", "[1, 2]", r"vocab.json holds no JSON object")
    change("merges.txt", merges[: merges.rindex("\n", 0, -1)], r"which no merge makes \(1 such")
    change("merges.txt", merges.strip().rsplit(" ", 1)[0], r"a merge is two tokens and a space")
    change("merges.txt", merges + "z z\n", r"merges\[\d+\] is 'z' \+ 'z', .* no 'zz'")
    change("tokenizer_config.json", '{"pad_token": "!"}', r"pad_token is '!' in .* has '<\|endof")
    Tokenizer.from_folder(tmp_path)


def test_openais_own_file(tmp_path):
    # stands for the real file, which has more lines of the same form: a header, merges, merges beyond CLIP's
    path = tmp_path / "vocabulary.txt.gz"
    letters = list(BYTE_TO_CHARACTER.values())
    merges = [f"{a} {b}{end}" for a, b, end in product(letters, letters, ("", "</w>"))]

    def write(lines):
        with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
            file.write("\n".join(lines))

    write(["#version: 0.2", *merges])
    tokenizer = Tokenizer.from_bpe_file(path)
    assert (len(tokenizer), len(tokenizer.merges), tokenizer.max_length) == (49408, 48894, 77)
    assert (tokenizer.start_id, tokenizer.end_id) == (49406, 49407)
    assert tokenizer.merges[0] == ("!", "!")
    assert tokenizer.vocabulary["!!"] == 512
    write(["#version: 0.2", *merges[:100]])
    with pytest.raises(ValueError, match=r"has 100 merges; CLIP's file has at least 48894"):
        Tokenizer.from_bpe_file(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is not a whole gzip file"):
        Tokenizer.from_bpe_file(path)
    path.write_text("no gzip")
    with pytest.raises(ValueError, match="is not a whole gzip file"):
        Tokenizer.from_bpe_file(path)
    with pytest.raises(FileNotFoundError):
        Tokenizer.from_bpe_file(tmp_path / "nothing.gz")


def test_a_character_without_a_token_is_the_end_token_as_in_transformers(tmp_path):
    vocabulary = {"a": 0, "a</w>": 1, "aa</w>": 2, START: 3, END: 4}
    ours = Tokenizer(vocabulary, [("a", "a</w>")])
    ours.save(tmp_path)
    theirs = CLIPTokenizer.from_pretrained(tmp_path)
    assert ours.encode("aa abba") == theirs("aa abba")["input_ids"][1:-1] == [2, 0, 4, 4, 1]


def test_bad_input_is_refused(ours):
    for call, message in (
        (lambda: ours.encode(None), "text is None, a NoneType; it must be a string"),
        (lambda: ours(["a", 7]), r"texts\[1\] is 7, a int; it must be a string"),
        (
            lambda: ours(["a", "\ud83d"]),
            r"texts\[1\] is '\\ud83d', which holds half of a surrogate",
        ),
        (lambda: ours("a red circle"), "texts is 'a red circle'; give a list"),
        (lambda: ours([]), r"texts is \[\]; give a list"),
        (lambda: ours(None), "texts is None; give a list"),
        (lambda: ours.decode([590]), "ids has 590"),
        (lambda: train_tokenizer(["a"], 513), "vocab_size is 513"),
        (lambda: train_tokenizer("a red circle", 600), "captions is one string"),
        (lambda: train_tokenizer(["a", None], 600), r"captions\[1\] is None"),
        (lambda: Tokenizer(ours.vocabulary, ours.merges, 2), "max_length is 2"),
        (lambda: Tokenizer({"a": 0}, []), r"vocabulary has no <\|startoftext"),
        (lambda: Tokenizer(number_tokens([]) | {"a": 1}, []), "one id to several"),
        (lambda: Tokenizer(number_tokens([]), [("a", "b")]), r"merges\[0\] is 'a' \+ 'b', .*'ab'"),
        (lambda: Tokenizer(ours.vocabulary, ours.merges[:-2]), r"no merge makes \(2 such"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
