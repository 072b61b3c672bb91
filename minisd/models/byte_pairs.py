"""Byte-pair encoding: words as bytes, and the merges that make tokens of them.

A text is cleaned and cut into words. Each word is written as the characters of its bytes, the last one with ``</w>``,
the mark of a word's end. Merges, learned from many words, then join pairs of neighbours into longer tokens.

Sennrich, Haddow and Birch (2016), "Neural machine translation of rare words with subword units", algorithm 1 (the
merges); Radford et al. (2019), "Language models are unsupervised multitask learners", section 2.2 (on bytes). Cleaning
and words are those of CLIP in transformers, but for accents that Unicode took in after transformers' tables were made.
OpenAI's own code also mends wrongly decoded text and HTML.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

Pair = tuple[str, str]

START = "<|startoftext|>"
END = "<|endoftext|>"  # also what a short prompt is filled up with
WORD_END = "</w>"
SPECIAL = re.compile(f"({re.escape(START)}|{re.escape(END)})")

# Unicode's White_Space; Python's \s has four control characters more
WHITE_SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
CONTRACTION = re.compile("'s|'t|'re|'ve|'m|'ll|'d")
RUN = re.compile("L+|N|O+")  # letters; one digit; other signs: see _kind


def byte_characters() -> dict[int, str]:
    """Return a printable character for each of the 256 bytes, in the order in which the vocabulary begins.

    Printable Latin-1 characters come first and stand for themselves. The other bytes, such as the space, take the
    characters from U+0100 on, so that a token can be seen, and a file of merges has spaces between tokens only.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable}
    return characters | {byte: chr(0x100 + i) for i, byte in enumerate(others)}


BYTE_TO_CHARACTER = byte_characters()
CHARACTER_TO_BYTE = {character: byte for byte, character in BYTE_TO_CHARACTER.items()}


def clean(text: str) -> str:
    """Normalise a text: composed characters (NFC), runs of white space as one space, lower case."""
    text = WHITE_SPACE.sub(" ", unicodedata.normalize("NFC", text))
    # character by character: Python's lower() writes a Greek sigma at a word's end in another way
    return "".join(character.lower() for character in text)


def split_words(text: str) -> list[str]:
    """Cut a cleaned text into words: contractions, runs of letters, single digits, runs of other signs.

    The two special tokens are words where they are written out.
    """
    words = []
    for part in SPECIAL.split(text):
        if part in (START, END):
            words.append(part)
            continue
        kinds = "".join(_kind(character) for character in part)
        position = 0
        while position < len(part):
            found = CONTRACTION.match(part, position) or RUN.match(kinds, position)
            if found:
                words.append(part[position : found.end()])
            position = found.end() if found else position + 1
    return words


def _kind(character: str) -> str:
    """Return L for a letter, N for a number, O for another sign, and a space for a space."""
    kind = unicodedata.category(character)[0]
    return character if character == " " else kind if kind in "LN" else "O"


def spell(word: str) -> list[str]:
    """Write a word as the characters of its UTF-8 bytes, the last one carrying the word's end."""
    symbols = [BYTE_TO_CHARACTER[byte] for byte in word.encode()]
    symbols[-1] += WORD_END
    return symbols


def merge(symbols: list[str], pair: Pair) -> list[str]:
    """Join every occurrence of a pair of neighbours, from left to right."""
    merged = []
    i = 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == pair:
            merged.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return merged


def number_tokens(merges: Sequence[Pair]) -> dict[str, int]:
    """Give the ids of tokens in CLIP's order: bytes, bytes that end a word, merges, start, end."""
    characters = list(BYTE_TO_CHARACTER.values())
    tokens = [*characters, *(character + WORD_END for character in characters)]
    tokens += [left + right for left, right in merges] + [START, END]
    return {token: i for i, token in enumerate(tokens)}


def learn_merges(frequencies: Mapping[str, int], limit: int) -> list[Pair]:
    """Learn merges: again and again, the most frequent pair of neighbours becomes one token.

    Parameters
    ----------
    frequencies : mapping of str to int
        How often each word is there.
    limit : int
        Merges to learn. There are fewer where all words are one token before.

    Returns
    -------
    list of (str, str)
        In the order in which they are found. Of pairs that are equally frequent the one that is first in the
        vocabulary goes first, so the order of the words does not count.
    """
    words = {word: spell(word) for word in frequencies if word not in (START, END)}
    counts, where = Counter(), defaultdict(set)  # of a pair: how often, and in which words
    for word, symbols in words.items():
        for pair in pairwise(symbols):
            counts[pair] += frequencies[word]
            where[pair].add(word)

    ids = number_tokens([])
    merges = []
    while len(merges) < limit and counts:
        pair = min(counts, key=lambda pair: (-counts[pair], ids[pair[0]], ids[pair[1]]))
        merges.append(pair)
        ids["".join(pair)] = len(ids)
        for word in where.pop(pair):
            before, after = words[word], merge(words[word], pair)
            words[word] = after
            for old in pairwise(before):
                counts[old] -= frequencies[word]
            for new in pairwise(after):
                counts[new] += frequencies[word]
                where[new].add(word)
        counts = +counts  # without the pairs that are gone
    return merges
