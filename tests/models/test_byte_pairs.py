"""Words, bytes and merges against transformers' parts and a count of all pairs by hand."""

import random
import unicodedata
from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from minisd.models.byte_pairs import (
    BYTE_TO_CHARACTER,
    END,
    START,
    clean,
    learn_merges,
    merge,
    number_tokens,
    spell,
    split_words,
)

PIECES = [
    "'s",
    "'LL",
    "n't",
    "''d",
    "a photo",
    "2023",
    "½",
    "Ⅷ",
    "ΣΟΣ",
    "İ",
    "e\u0301",
    "😀👍🏽",
    "日本",
]
PIECES += [" ", "\t\n", "\x1c", "\x85", "\u3000", "...", "_", "-", "</w>", START, END, "<|", "\x00"]
PIECES += ["supercalifragilistic", "a" * 40]
# tokenizers knows the marks of an older Unicode, and so brings the newer ones into no order
characters = st.characters(exclude_categories=["Cs", "Cn"]).filter(
    lambda c: not unicodedata.combining(c) or unicodedata.ucd_3_2_0.combining(c)
)
texts = st.lists(st.sampled_from(PIECES) | st.text(characters, max_size=8)).map("".join)
theirs = CLIPTokenizer().backend_tokenizer


@settings(deadline=None, max_examples=300)
@given(texts)
def test_cleaning_is_transformers(text):
    assert clean(text) == theirs.normalizer.normalize_str(text)


@settings(deadline=None, max_examples=300)
@given(texts)
def test_words_are_transformers(text):
    text = clean(text).replace(START, " ").replace(END, " ")
    expected = [word for word, _ in theirs.pre_tokenizer.pre_tokenize_str(text)]
    ours = ["".join(BYTE_TO_CHARACTER[b] for b in word.encode()) for word in split_words(text)]
    assert ours == expected


def test_words():
    assert split_words("it's 12 o'clock!'s") == ["it", "'s", "1", "2", "o", "'", "clock", "!'", "s"]
    assert split_words(f"a{START}b!{END}") == ["a", START, "b", "!", END]
    for end in ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d"):
        assert split_words(f"y{end}") == ["y", end]
    assert split_words("y'x") == ["y", "'", "x"]
    assert split_words(" ") == split_words("") == []


def test_spaces_are_unicodes_and_not_pythons():
    assert clean("a\u3000\t\n b\x85c") == "a b c"
    assert clean("a\x1cb") == "a\x1cb"


def test_every_byte_has_its_printable_character():
    assert set(BYTE_TO_CHARACTER) == set(range(256))
    assert sorted(BYTE_TO_CHARACTER.values()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert [BYTE_TO_CHARACTER[b] for b in b"a~ \xad"] == ["a", "~", "Ġ", "Ń"]
    assert list(BYTE_TO_CHARACTER)[:2] == [ord("!"), ord('"')]
    assert spell("né") == ["n", "Ã", "©</w>"]


def test_merge_goes_from_left_to_right():
    assert merge(list("aaab"), ("a", "a")) == ["aa", "a", "b"]
    assert merge(list("abab"), ("a", "b")) == ["ab", "ab"]
    assert merge(["b"], ("a", "b")) == ["b"]


def merges_by_hand(frequencies, limit):
    """Count all pairs of all words anew for each merge; also tell which merges were without a rival."""
    words = {word: spell(word) for word in frequencies}
    ids, merges, alone = number_tokens([]), [], []
    for _ in range(limit):
        counts = Counter()
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                counts[pair] += frequencies[word]
        if not counts:
            break
        top = max(counts.values())
        rivals = sorted((p for p in counts if counts[p] == top), key=lambda p: [ids[s] for s in p])
        merges.append(rivals[0])
        alone.append(len(rivals) == 1)
        ids["".join(rivals[0])] = len(ids)
        words = {word: merge(symbols, rivals[0]) for word, symbols in words.items()}
    return merges, alone


frequencies = st.dictionaries(st.text("abé", min_size=1, max_size=9), st.integers(1, 9), max_size=8)


@settings(deadline=None)
@given(frequencies, st.integers(0, 30))
def test_merges_are_those_of_a_count_by_hand(frequencies, limit):
    assert learn_merges(frequencies, limit) == merges_by_hand(frequencies, limit)[0]


@settings(deadline=None)
@given(frequencies, st.randoms())
def test_merges_do_not_depend_on_the_order_and_no_token_is_made_twice(frequencies, shuffle):
    words = list(frequencies)
    shuffle.shuffle(words)
    merges = learn_merges(frequencies, 30)
    assert learn_merges({word: frequencies[word] for word in words}, 30) == merges
    assert sorted(number_tokens(merges).values()) == list(range(514 + len(merges)))


def test_merges_are_those_of_tokenizers_where_no_pairs_are_equally_frequent():
    draw = random.Random(0)
    compared = 0
    for _ in range(20):
        words = ["".join(draw.choices("abcd", k=draw.randint(1, 6))) for _ in range(12)]
        frequencies = {word: draw.randint(1, 1000) for word in words}
        _, alone = merges_by_hand(frequencies, 30)
        clear = alone.index(False) if False in alone else len(alone)
        model = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
        model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.BpeTrainer(
            vocab_size=1000, end_of_word_suffix="</w>", show_progress=False
        )
        model.train_from_iterator([f"{word} " * n for word, n in frequencies.items()], trainer)
        vocabulary = sorted(model.get_vocab().items(), key=lambda item: item[1])
        theirs = [t for t, _ in vocabulary if len(t.removesuffix("</w>")) > 1]
        assert ["".join(p) for p in learn_merges(frequencies, clear)] == theirs[:clear]
        compared += clear
    assert compared > 40


def test_fewer_merges_where_all_words_are_tokens():
    assert learn_merges({"ab": 1, "a": 7, START: 3}, 9) == [("a", "b</w>")]
    assert learn_merges({}, 9) == []
