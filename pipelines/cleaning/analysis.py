"""One analysis of a batch of documents that every rule reads: its words, as flat arrays, with features of
each word.

Words are found through a table of distinct white-space chunks, so that splitting, hashing and classifying a
word is done once per distinct chunk and everything after is array work. The table is bounded: when it is full
the next batch starts a new one. Nothing a rule can see depends on the table's state: features are functions
of a word's text alone.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from gristmill.errors import RecipeError
from gristmill.recipe import suggestion
from pipelines.cleaning.characters import Characters, Chunks, Lines, sum_between
from pipelines.cleaning.hash_table import HashTable
from pipelines.cleaning.punctuation import PUNCTUATION
from pipelines.cleaning.words import MODES, Splitters, WordMode

if TYPE_CHECKING:
    from pipelines.cleaning.language_detection import Languages

Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: Distinct chunks, and characters of them, that a table holds before the next batch starts a new one (some
#: 500 MB).
MAX_CHUNKS = 2_000_000
MAX_CHUNK_CHARACTERS = 64_000_000


class Analyzer:
    """Makes an ``Analysis`` of each batch and remembers the chunks it met. One per process serves all
    batches.
    """

    def __init__(
        self,
        words: WordMode = "unicode",
        language: str = "auto",
        *,
        max_chunks: int = MAX_CHUNKS,
        max_characters: int = MAX_CHUNK_CHARACTERS,
    ) -> None:
        """``words`` names how chunks are split (``words.MODES``), ``language`` whose words they are where
        that makes a difference ("auto": each document's own, as found by ``language_detection``).

        RecipeError for a name that is not there, or a splitter whose package is not installed.
        """
        if words not in MODES:
            raise RecipeError(
                f"clean.words = {words!r}: there is no such way of splitting{suggestion(words, MODES)}"
            )
        self.words, self.language = words, language
        self._max_chunks, self._max_characters = max_chunks, max_characters
        self._table = self._new_table()

    def _new_table(self) -> WordTable:
        return WordTable(Splitters(self.words), None if self.language == "auto" else self.language)

    def analyze(self, texts: Sequence[str], urls: Sequence[str | None] | None = None) -> Analysis:
        """The analysis of a batch; what it holds is computed when first asked for. Any ``str`` will do."""
        if self._table.chunks >= self._max_chunks or self._table.characters >= self._max_characters:
            self._table = self._new_table()
        return Analysis(texts, self._table, urls)


class Analysis:
    """A batch of D documents with N words in all. Per-word arrays are flat, in document order.

    Words of document d are ``[word_offsets[d]:word_offsets[d + 1]]``. ``urls``: D addresses, None where a
    document has none.
    """

    def __init__(
        self, texts: Sequence[str], table: WordTable, urls: Sequence[str | None] | None = None
    ) -> None:
        self.texts = texts
        self.urls: Sequence[str | None] = [None] * len(texts) if urls is None else urls
        self._table = table

    def __len__(self) -> int:
        """Documents in the batch."""
        return len(self.texts)

    def take(self, places: Sequence[int]) -> Analysis:
        """The analysis of some of the documents."""
        taken = Analysis(
            [self.texts[place] for place in places], self._table, [self.urls[place] for place in places]
        )
        if "languages" in self.__dict__:
            taken.languages = self.languages.take(places)
        return taken

    def edited(self, texts: Sequence[str]) -> Analysis:
        """The analysis of the same documents with other texts. Their languages stay what they were."""
        other = Analysis(texts, self._table, self.urls)
        if "languages" in self.__dict__:
            other.languages = self.languages
        return other

    @cached_property
    def characters(self) -> I64:
        """``(D,)`` length of each document in Unicode code points."""
        return np.fromiter(map(len, self.texts), np.int64, len(self.texts))

    @cached_property
    def is_empty(self) -> Bools:
        """``(D,)`` whether a document is empty or only white space; such a document has no words, any other
        has.
        """
        return np.fromiter((not text or text.isspace() for text in self.texts), np.bool_, len(self.texts))

    @cached_property
    def code_points(self) -> Characters:
        """The batch's characters as an array, with its chunks and lines."""
        return Characters(self.texts, self.characters)

    @property
    def chunks(self) -> Chunks:
        """White-space chunks; C in all."""
        return self.code_points.chunks

    @property
    def lines(self) -> Lines:
        """Lines as ``str.splitlines()`` has them; L in all."""
        return self.code_points.lines

    @cached_property
    def _encoded(self) -> Encoded:
        languages = self.languages.codes if self._table.needs_languages else None
        return self._table.encode(self.texts, self.code_points, languages)

    @property
    def word_ids(self) -> npt.NDArray[np.int32]:
        """``(N,)`` index of each word into the arrays of ``features``. The numbers mean nothing outside this
        batch.
        """
        return self._encoded.word_ids

    @property
    def chunk_words(self) -> I64:
        """``(C + 1,)`` where the words of each chunk of ``chunks`` begin and end."""
        return self._encoded.chunk_words

    @cached_property
    def word_offsets(self) -> I64:
        """``(D + 1,)`` where each document's words begin and end."""
        return self.chunk_words[self.chunks.bounds]

    @cached_property
    def features(self) -> WordFeatures:
        """Features of distinct words, by word id."""
        _ = self._encoded  # the words of this batch must be in the table first
        return self._table.features()

    @cached_property
    def words_per_document(self) -> I64:
        """``(D,)`` number of words, symbols included."""
        return np.diff(self.word_offsets)

    @cached_property
    def word_lengths(self) -> npt.NDArray[np.int32]:
        """``(N,)`` characters of each word."""
        return self.features.length[self.word_ids]

    @cached_property
    def word_hashes(self) -> U64:
        """``(N,)`` xxh3-64 of each word's UTF-8: the same on every worker and in every run."""
        return self.features.hash[self.word_ids]

    @cached_property
    def is_symbol(self) -> Bools:
        """``(N,)`` whether a word is made of ``punctuation.PUNCTUATION`` alone."""
        return self.features.is_symbol[self.word_ids]

    @cached_property
    def has_letter(self) -> Bools:
        """``(N,)`` whether a word has an alphabetic character (``str.isalpha``)."""
        return self.features.has_letter[self.word_ids]

    def sum_by_document(self, values: npt.NDArray[np.generic]) -> I64:
        """``(D,)`` sums of a per-word array of integers or booleans."""
        return sum_between(values, self.word_offsets)

    def count_distinct(self, words: Iterable[str]) -> I64:
        """``(D,)`` how many of the distinct ``words`` (at most 64) each document has, letter case as
        given.
        """
        bit = np.zeros(len(self.features.length), np.uint64)
        for place, word in enumerate(dict.fromkeys(words)):
            number = self._table.word_id(word)
            if number is not None and number < len(bit):
                bit[number] = np.uint64(1) << np.uint64(place)
        found = np.zeros(len(self), np.uint64)
        has_words = self.words_per_document > 0
        if has_words.any():
            found[has_words] = np.bitwise_or.reduceat(bit[self.word_ids], self.word_offsets[:-1][has_words])
        return np.bitwise_count(found).astype(np.int64)

    def count_occurrences(self, words: Iterable[str]) -> I64:
        """``(D,)`` how many words of each document are among ``words``, letter case as given."""
        wanted = np.zeros(len(self.features.length), np.bool_)
        for word in words:
            number = self._table.word_id(word)
            if number is not None and number < len(wanted):
                wanted[number] = True
        return self.sum_by_document(wanted[self.word_ids])

    @cached_property
    def languages(self) -> Languages:
        """Language code and score of each document, see ``language.py``."""
        from pipelines.cleaning.language_detection import detect

        return detect(self.texts)


class WordFeatures:
    """Arrays over distinct words, by word id; functions of the word's text alone.

    ``length`` int32 in characters; ``is_symbol``, ``has_letter`` bool; ``hash`` uint64, xxh3-64 of the UTF-8;
    ``ending`` uint8, what it means for the end of a sentence (``sentences.ending``).
    ``chain`` and ``factor`` uint64 are a polynomial hash that can be chained: the hash of words joined
    without a space is ``h = h * factor[word] + chain[word]`` over them (mod 2^64), wherever the cuts between
    the words are.
    """

    __slots__ = ("chain", "ending", "factor", "has_letter", "hash", "is_symbol", "length")

    def __init__(
        self,
        length: npt.NDArray[np.int32],
        is_symbol: Bools,
        has_letter: Bools,
        hash: U64,
        chain: U64,
        factor: U64,
        ending: npt.NDArray[np.uint8],
    ) -> None:
        self.length, self.is_symbol, self.has_letter = length, is_symbol, has_letter
        self.hash, self.chain, self.factor, self.ending = hash, chain, factor, ending

    @classmethod
    def of(cls, words: Sequence[str], ending: Callable[[str], int]) -> WordFeatures:
        """Features of some words; ``ending`` as in ``words.Splitters``."""
        count = len(words)
        # Lone surrogates may come out of JSON: they hash like any other character.
        encoded = [word.encode("utf-8", "surrogatepass") for word in words]
        chain, factor = _chain_hashes(encoded)
        return cls(
            np.fromiter(map(len, words), np.int32, count),
            np.fromiter(map(PUNCTUATION.issuperset, words), np.bool_, count),
            np.fromiter((word.isalpha() or any(map(str.isalpha, word)) for word in words), np.bool_, count),
            np.fromiter(map(xxhash.xxh3_64_intdigest, encoded), np.uint64, count),
            chain,
            factor,
            np.fromiter(map(ending, words), np.uint8, count),
        )

    def arrays(self) -> list[npt.NDArray[Any]]:
        """All arrays, in the order of the constructor."""
        return [
            self.length, self.is_symbol, self.has_letter, self.hash, self.chain, self.factor, self.ending,
        ]  # fmt: skip


class Encoded(NamedTuple):
    """Words of a batch: ``word_ids`` ``(N,)`` and ``chunk_words`` ``(C + 1,)``, where each chunk's words
    begin."""

    word_ids: npt.NDArray[np.int32]
    chunk_words: I64


class WordTable:
    """Distinct chunks and words met so far: chunk → word ids, word id → features. Only grows; safe to share
    by threads.

    A chunk is known by the 64-bit hash of its characters and its document's splitter, which is exact up to
    collisions of chance 2^-64 a pair.
    """

    def __init__(self, splitters: Splitters, language: str | None = None) -> None:
        """``language``: of all documents; None: ``encode`` is told each document's, if the splitter asks for
        it.
        """
        self._splitters = splitters
        self._language = language
        self.needs_languages = language is None and splitters.by_language
        if not self.needs_languages:
            splitters.of(language or "")  # a package that is missing is told now
        self._lock = threading.Lock()
        self._words: dict[str, int] = {}
        self._chunk_ids = HashTable()
        self.chunks = 0
        self.characters = 0
        # Words of chunk c are _chunk_words[_chunk_starts[c]:_chunk_starts[c + 1]].
        self._chunk_words = _Growing(np.int32)
        self._chunk_starts = _Growing(np.int64)
        self._chunk_starts.extend(np.zeros(1, np.int64))
        self._features = [_Growing(array.dtype) for array in WordFeatures.of([], splitters.ending).arrays()]

    def word_id(self, word: str) -> int | None:
        """The id of a word, None if it was never met."""
        return self._words.get(word)

    def features(self) -> WordFeatures:
        """Features of all words met so far."""
        return WordFeatures(*(column.view() for column in self._features))

    def encode(
        self, texts: Sequence[str], characters: Characters, languages: Sequence[str] | None = None
    ) -> Encoded:
        """The words of a batch; ``languages``: of its documents, where ``needs_languages``."""
        chunks = characters.chunks
        keys = chunks.hash
        if languages is not None:
            names = map(self._splitters.name, languages)
            salts = np.fromiter(map(_salt, names), np.uint64, len(languages))
            keys = keys ^ np.repeat(salts, np.diff(chunks.bounds))
        with self._lock:
            chunk_ids = self._chunk_ids.find(keys)
            missing = np.flatnonzero(chunk_ids < 0)
            if len(missing):
                self._enter(texts, characters, keys, missing, languages)
                chunk_ids[missing] = self._chunk_ids.find(keys[missing])
            starts, words = self._chunk_starts.view(), self._chunk_words.view()
        first = starts[chunk_ids]
        ends = np.zeros(len(chunk_ids) + 1, np.int64)
        np.cumsum(starts[chunk_ids + 1] - first, out=ends[1:])
        # The k-th word of the batch lies at (k - where its chunk's words begin in the batch) past its chunk's
        # first.
        source = np.repeat(first - ends[:-1], np.diff(ends))
        source += np.arange(ends[-1], dtype=np.int64)
        return Encoded(words[source], ends)

    def _enter(
        self,
        texts: Sequence[str],
        characters: Characters,
        keys: U64,
        missing: I64,
        languages: Sequence[str] | None,
    ) -> None:
        """Enter chunks met for the first time, in the order they come; nothing is entered if splitting one
        fails.
        """
        new_keys, where = np.unique(keys[missing], return_index=True)
        order = np.argsort(where)
        new_keys, places = new_keys[order], missing[where[order]]
        chunks = characters.chunks
        documents = np.searchsorted(chunks.bounds, places, side="right") - 1
        offsets = characters.bounds[documents]
        by_language: dict[str, list[int]] = {}
        for place, document in enumerate(documents.tolist()):
            language = languages[document] if languages is not None else self._language or ""
            by_language.setdefault(language, []).append(place)
        texts_of = [
            texts[document][start:end]
            for document, start, end in zip(
                documents.tolist(),
                (chunks.start[places] - offsets).tolist(),
                (chunks.end[places] - offsets).tolist(),
                strict=True,
            )
        ]
        split: list[list[str]] = [[]] * len(texts_of)
        for language, of_language in by_language.items():
            words = self._splitters.of(language)([texts_of[place] for place in of_language])
            for place, found in zip(of_language, words, strict=True):
                split[place] = found
        known = self._words
        before = len(known)
        ids = [known.setdefault(word, len(known)) for words in split for word in words]
        self._chunk_starts.extend(self._chunk_starts.view()[-1] + np.cumsum([len(words) for words in split]))
        self._chunk_words.extend(np.array(ids, np.int32))
        new_words = list(itertools.islice(known, before, None))
        for column, array in zip(
            self._features, WordFeatures.of(new_words, self._splitters.ending).arrays(), strict=True
        ):
            column.extend(array)
        self._chunk_ids.enter(new_keys, np.arange(self.chunks, self.chunks + len(split), dtype=np.int32))
        self.chunks += len(split)
        self.characters += int((chunks.end[places] - chunks.start[places]).sum())


def _salt(name: str) -> int:
    """What sets the chunks of one splitter apart from those of another."""
    return xxhash.xxh3_64_intdigest(name.encode())


class _Growing:
    """A 1-D array that is appended to; doubles its room, so that views handed out earlier stay valid."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._data = np.empty(1024, dtype)
        self._used = 0

    def extend(self, values: npt.NDArray[Any]) -> None:
        needed = self._used + len(values)
        if needed > len(self._data):
            bigger = np.empty(max(needed, 2 * len(self._data)), self._data.dtype)
            bigger[: self._used] = self._data[: self._used]
            self._data = bigger
        self._data[self._used : needed] = values
        self._used = needed

    def view(self) -> npt.NDArray[Any]:
        return self._data[: self._used]


# A random odd base and a random number for each byte value, from splitmix64 (Steele et al. 2014) of 0, 1, 2,
# …
_BASE = np.uint64(0xBF58476D1CE4E5B9)


def _splitmix(count: int) -> U64:
    value = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _chain_hashes(encoded: Sequence[bytes]) -> tuple[U64, U64]:
    """``sum(number[byte_i] * base^(length - 1 - i))`` and ``base^length`` of each non-empty byte string, mod
    2^64.
    """
    if not encoded:
        return np.empty(0, np.uint64), np.empty(0, np.uint64)
    sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
    ends = np.cumsum(sizes)
    powers = np.full(int(sizes.max()) + 1, _BASE)
    powers[0] = 1
    np.multiply.accumulate(powers, out=powers)
    values = _splitmix(256)[np.frombuffer(b"".join(encoded), np.uint8)]
    values *= powers[np.repeat(ends, sizes) - 1 - np.arange(ends[-1])]
    return np.add.reduceat(values, ends - sizes), powers[sizes]
