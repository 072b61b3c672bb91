"""CLIP's tokenizer: from a prompt to the 77 numbers that the text encoder reads.

`minisd.models.byte_pairs` has what it does to a word; here are the vocabulary, its files, and the start and end.

Radford et al. (2021), "Learning transferable visual models from natural language supervision", section 2.4.
"""

from __future__ import annotations

import gzip
import json
import os
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from minisd.models.byte_pairs import (
    CHARACTER_TO_BYTE,
    END,
    START,
    WORD_END,
    Pair,
    clean,
    learn_merges,
    merge,
    number_tokens,
    spell,
    split_words,
)

UNLIMITED = 10**9  # transformers writes 10**30 for a length that nobody told it


class Tokenizer:
    """A vocabulary and its merges: prompts in, token ids out, and back.

    Called with a list of B prompts it returns what the text encoder takes, an integer tensor [B, ``max_length``]: start
    token, the prompt's tokens, end token, and the end token again up to the length. A prompt that is too long loses its
    last tokens, never the end token, and a `UserWarning` says which words the model does not see.

    Parameters
    ----------
    vocabulary : mapping of str to int
        The id of each token. CLIP's has 49,408.
    merges : sequence of (str, str)
        Pairs of tokens, the first to be merged first.
    max_length : int
        What the text encoder reads, both special tokens included; at least 3.

    Attributes
    ----------
    start_id, end_id : int
        Ids of ``<|startoftext|>`` (CLIP's is 49406) and ``<|endoftext|>`` (49407). The configuration files of Stable
        Diffusion's text encoder say 0 and 2, which is wrong.

    Raises
    ------
    ValueError
        If a special token is missing, two tokens share an id, a merge takes or makes a token that the vocabulary
        lacks, no merge makes a token that it has, or ``max_length`` is under 3.

    Examples
    --------
    >>> tokenizer = train_tokenizer(["a red circle", "a red square"], 530)
    >>> tokenizer.decode(tokenizer.encode("A red  CIRCLE"))
    'a red circle'
    >>> tokenizer(["a red circle", ""]).shape
    torch.Size([2, 77])
    """

    def __init__(
        self, vocabulary: Mapping[str, int], merges: Sequence[Pair], max_length: int = 77
    ) -> None:
        if max_length < 3:
            raise ValueError(
                f"max_length is {max_length}; it must be at least 3: start, a token, end"
            )
        for token in (START, END):
            if token not in vocabulary:
                raise ValueError(f"vocabulary has no {token}; is it that of a CLIP tokenizer?")
        if len(set(vocabulary.values())) < len(vocabulary):
            raise ValueError("vocabulary gives one id to several tokens")
        for i, (left, right) in enumerate(merges):
            for token in (left, right, left + right):
                if token not in vocabulary:
                    raise ValueError(
                        f"merges[{i}] is {left!r} + {right!r}, but vocabulary has no {token!r}; "
                        "the two must be of one tokenizer"
                    )
        made = {left + right for left, right in merges} | {START, END}
        unmade = [t for t in vocabulary if len(t.removesuffix(WORD_END)) > 1 and t not in made]
        if unmade:
            raise ValueError(
                f"vocabulary has {unmade[-1]!r}, which no merge makes ({len(unmade)} such tokens); "
                "are merges cut off?"
            )
        self.vocabulary = dict(vocabulary)
        self.merges = list(merges)
        self.max_length = max_length
        self.start_id, self.end_id = vocabulary[START], vocabulary[END]
        self._tokens = {i: token for token, i in vocabulary.items()}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._known_words = {START: (self.start_id,), END: (self.end_id,)}

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, all of them, without start and end.

        A character that a small vocabulary has no token for becomes the end token, as in transformers. It cannot happen
        where the vocabulary has all bytes, as CLIP's and those of `train_tokenizer` have.

        Raises
        ------
        ValueError
            If ``text`` is not a string, or holds half of a surrogate pair, which is no character.
        """
        _check_text("text", text)
        return [i for word in split_words(clean(text)) for i in self._encode_word(word)]

    def _encode_word(self, word: str) -> tuple[int, ...]:
        if word not in self._known_words:
            symbols = spell(word)
            while pairs := self._ranks.keys() & pairwise(symbols):
                symbols = merge(symbols, min(pairs, key=self._ranks.__getitem__))
            self._known_words[word] = tuple(self.vocabulary.get(s, self.end_id) for s in symbols)
        return self._known_words[word]

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the ids of B prompts, [B, max_length] int64; see the class.

        Raises
        ------
        ValueError
            If ``texts`` is no list of strings, or an empty one, or holds what `encode` refuses.
        """
        if isinstance(texts, str) or not isinstance(texts, Sequence) or not texts:
            raise ValueError(f"texts is {texts!r}; give a list of one or more strings")
        for b, text in enumerate(texts):
            _check_text(f"texts[{b}]", text)
        room = self.max_length - 2
        rows = []
        for b, text in enumerate(texts):
            ids = self.encode(text)
            if len(ids) > room:
                warnings.warn(
                    f"texts[{b}] has {len(ids)} tokens and the model reads {room}; "
                    f"it does not see: {self._lost(ids, room)!r}",
                    stacklevel=2,
                )
            row = [self.start_id, *ids[:room], self.end_id]
            rows.append(row + [self.end_id] * (self.max_length - len(row)))
        return torch.tensor(rows)

    def _lost(self, ids: list[int], room: int) -> str:
        """Return the words of a prompt that do not fit, the one that is cut in two with its beginning."""
        start = room
        while start > 0 and not self._tokens[ids[start - 1]].endswith((WORD_END, START, END)):
            start -= 1
        return self.decode(ids[start:])

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids, without start and end tokens, a space after each word.

        Bytes that are no UTF-8 (a part of a character that was cut in two) become U+FFFD.

        Raises
        ------
        ValueError
            If an id is not in the vocabulary.
        """
        characters = ""
        for i in map(int, ids):
            if i not in self._tokens:
                raise ValueError(f"ids has {i}; the vocabulary has no token of that id")
            if i not in (self.start_id, self.end_id):
                characters += self._tokens[i].replace(WORD_END, " ")
        # a space is no byte's character: it marks a word's end here
        text = b"".join(
            b" " if character == " " else bytes([CHARACTER_TO_BYTE[character]])
            for character in characters
        )
        return text.decode(errors="replace").strip()

    @classmethod
    def from_folder(cls, folder: str | Path) -> Tokenizer:
        """Read the ``tokenizer`` folder of a checkpoint.

        Parameters
        ----------
        folder : path
            Has ``vocab.json`` and ``merges.txt``, or the one file ``tokenizer.json`` that transformers 5 writes. The
            length is ``model_max_length`` of ``tokenizer_config.json``, or 77 where that is not told.

        Raises
        ------
        FileNotFoundError
            If the folder or its files are not there.
        ValueError
            If a file is not what it should be, or the folder is not that of a CLIP tokenizer like Stable Diffusion 1's
            (Stable Diffusion 2's fills up with another token).
        """
        folder = Path(folder)
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            vocabulary = _read_object(folder / "vocab.json")
            merges = _read_merges(folder / "merges.txt")
        elif (folder / "tokenizer.json").is_file():
            model = _read_object(folder / "tokenizer.json").get("model", {})
            vocabulary, merges = model.get("vocab"), model.get("merges")
            if not isinstance(vocabulary, dict) or not isinstance(merges, list):
                raise ValueError(
                    f"{folder / 'tokenizer.json'} has no byte-pair vocabulary and merges"
                )
            # older files write a pair as one string
            merges = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in merges]
        else:
            raise FileNotFoundError(
                f"{folder} has neither vocab.json with merges.txt nor tokenizer.json"
            )
        settings = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if (folder / name).is_file():
                settings |= _read_object(folder / name)
        for name, token in {"bos_token": START, "eos_token": END, "pad_token": END}.items():
            told = settings.get(name) or token
            told = told["content"] if isinstance(told, dict) else told
            if told != token:
                raise ValueError(f"{name} is {told!r} in {folder}; minisd has {token!r} only")
        length = settings.get("model_max_length") or 77
        return cls(vocabulary, merges, 77 if length >= UNLIMITED else length)

    @classmethod
    def from_bpe_file(cls, path: str | Path, max_length: int = 77) -> Tokenizer:
        """Read CLIP's vocabulary from OpenAI's own file, ``bpe_simple_vocab_16e6.txt.gz``.

        It is in OpenAI's repository CLIP, and goes with a checkpoint that is a single file and has no tokenizer. It has
        more merges than CLIP uses: lines 2 to 48,895 are CLIP's.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not a gzip file, is cut off, or has too few merges.
        """
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                lines = file.read().split("\n")[1:48895]
        except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a whole gzip file of merges: {error}") from error
        merges = [_pair(line, path) for line in lines if line]
        if len(merges) < 48894:
            raise ValueError(f"{path} has {len(merges)} merges; CLIP's file has at least 48894")
        return cls(number_tokens(merges), merges, max_length)

    def save(self, folder: str | Path) -> None:
        """Write the four files of CLIP's tokenizer, which `from_folder` and transformers read.

        Each is written beside its place and renamed, so that none is ever half there. ``folder`` is made if need be.
        """
        flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
        start, end = {"content": START, **flags}, {"content": END, **flags}
        special = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
        settings = {name: {"__type": "AddedToken", **token} for name, token in special.items()}
        settings |= {
            "add_prefix_space": False,
            "do_lower_case": True,
            "errors": "replace",
            "model_max_length": self.max_length,
            "tokenizer_class": "CLIPTokenizer",
        }
        lines = ["#version: 0.2", *(f"{left} {right}" for left, right in self.merges), ""]
        files = {
            "vocab.json": json.dumps(self.vocabulary, ensure_ascii=False),
            "merges.txt": "\n".join(lines),
            "tokenizer_config.json": json.dumps(settings, indent=2),
            "special_tokens_map.json": json.dumps(special, indent=2),
        }
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            part = folder / f".{name}.{os.getpid()}.part"
            try:
                part.write_text(text, encoding="utf-8", newline="\n")
                part.replace(folder / name)
            finally:
                part.unlink(missing_ok=True)


def train_tokenizer(captions: Iterable[str], vocab_size: int, max_length: int = 77) -> Tokenizer:
    """Learn a vocabulary from captions: again and again, the most frequent pair of tokens becomes a token.

    Parameters
    ----------
    captions : iterable of str
        Their words count as often as they are there.
    vocab_size : int
        Tokens to end with, at least 514: 256 bytes, 256 bytes that end a word, and the two special tokens. There are
        fewer where every word of the captions is one token before: ``len(tokenizer)`` tells.
    max_length : int
        See `Tokenizer`.

    Returns
    -------
    Tokenizer
        Tokens stand in CLIP's order: bytes, bytes that end a word, merges, start, end. The same captions in any order
        give the same one: of pairs that are equally frequent, the one that is first in the vocabulary is merged first.

    Raises
    ------
    ValueError
        If ``vocab_size`` is too small, or a caption is not a string.
    """
    if vocab_size < 514:
        raise ValueError(f"vocab_size is {vocab_size}; bytes and special tokens alone are 514")
    if isinstance(captions, str):
        raise ValueError("captions is one string; give a list of strings")
    frequencies = Counter()
    for i, caption in enumerate(captions):
        _check_text(f"captions[{i}]", caption)
        frequencies.update(split_words(clean(caption)))
    merges = learn_merges(frequencies, vocab_size - 514)
    return Tokenizer(number_tokens(merges), merges, max_length)


def _read_object(path: Path) -> dict:
    """Read a JSON file that holds an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a whole JSON file: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object")
    return value


def _read_merges(path: Path) -> list[Pair]:
    lines = path.read_text(encoding="utf-8").split("\n")
    if lines[0].startswith("#version"):
        del lines[0]
    return [_pair(line, path) for line in lines if line]


def _pair(line: str, path: str | Path) -> Pair:
    pair = tuple(line.split(" "))
    if len(pair) != 2:
        raise ValueError(f"{path} has the line {line!r}; a merge is two tokens and a space")
    return pair


def _check_text(name: str, text: str) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{name} is {text!r}, a {type(text).__name__}; it must be a string")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} is {text!r}, which holds half of a surrogate pair") from error
