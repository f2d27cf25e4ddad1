"""The recipe: one TOML file that says what is wanted, checked whole before anything runs.

Unknown keys and wrong values are refused with one line naming the key, the value and what is allowed. Relative input
paths are meant from the recipe file's folder; ``output`` from where the command runs.
"""

from __future__ import annotations

import codecs
import difflib
import json
import os
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from gristmill import storage
from gristmill.errors import RecipeError

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
#: How text is cut into words for the cleaning rules.
WordMode = Literal["unicode", "whitespace", "spacy"]

#: Characters of a wrong value that an error repeats.
_LONGEST_SHOWN = 80


class Section(BaseModel):
    """A table of the recipe: no unknown keys, no silent conversions, not changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def off_is_none(value: Any) -> Any:
    """TOML has no null: ``"off"`` stands for it where a key may be without a value."""
    return None if value == "off" else value


#: A text that may be switched off.
OptionalText = Annotated[str | None, BeforeValidator(off_is_none)]


# -- corpus and clean --------------------------------------------------------------------------------------------------


_METADATA = (
    "Fields kept as a JSON object in the documents' metadata column; a dot goes into nested ones, "
    '"*" keeps all that are not text, id or url.'
)
# Codecs of Python's that are for names, source code or one operating system.
_NO_FILE_ENCODINGS = frozenset(
    {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem", "cp65001"}
)
_ERRORS = "Rows with undecodable bytes: reject records them as unreadable, replace puts U+FFFD for each bad sequence."


class FileSource(Section):
    """What every source that reads files has in common."""

    name: Name = Field(
        description="The source column of its documents, and the beginning of their made-up ids."
    )
    paths: list[str] = Field(
        min_length=1, description="Files, globs or URLs of any fsspec file system, relative to the recipe."
    )

    def located(self, resolve: Callable[[str], str]) -> Self:
        """The same source with its input paths resolved."""
        return self.model_copy(update={"paths": [resolve(path) for path in self.paths]})


class EncodedSource(FileSource):
    """Files of characters in some encoding."""

    encoding: str = Field(
        "utf-8",
        description="A Python codec's name, or detect: UTF-8 where a file's first megabyte is that, else a guess.",
    )
    errors: Literal["reject", "replace"] = Field("reject", description=_ERRORS)

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str) -> str:
        if value == "detect":
            return value
        try:
            if codecs.lookup(value).name in _NO_FILE_ENCODINGS:
                raise LookupError
            "".encode(value)
        except LookupError:
            known = ["utf-8", "detect", "latin-1", "cp1252", "utf-16", "shift_jis", "gb18030", "koi8-r"]
            raise ValueError(
                f"{value!r} is no text encoding Python knows{suggestion(value, known)}"
            ) from None
        return value


class FieldsSource(Section):
    """Which fields of a row are the document."""

    text_field: str = Field(
        "text", description="The field that holds the text; a dot goes into nested fields."
    )
    id_field: OptionalText = Field(
        "id", description='Where it is absent, null or "off", the id is made from file name and place.'
    )
    url_field: str | None = Field(None, description="The field that holds the address.")
    metadata_fields: list[str] = Field([], description=_METADATA)


class TextSource(EncodedSource):
    """Plain text, plain or compressed (gz, bz2, xz, zst: told by content)."""

    kind: Literal["text"]
    per: Literal["file", "line", "paragraph"] = Field(
        "file", description="What one document is; paragraphs are parted by blank lines."
    )


class JsonlSource(FileSource, FieldsSource):
    """JSON lines in UTF-8, one document a line, plain or compressed (gz, bz2, xz, zst: told by content).

    Plain files are read in pieces of split_bytes, a compressed file by one worker.
    """

    kind: Literal["jsonl"]
    errors: Literal["reject", "replace"] = Field("reject", description=_ERRORS)


class CsvSource(EncodedSource, FieldsSource):
    """Delimited rows, plain or compressed (gz, bz2, xz, zst: told by content).

    A quoted field may hold line ends, so a file is read by one worker; with quote = "" plain files are read
    in pieces.
    """

    kind: Literal["csv"]
    delimiter: str = Field(",", description="One character; a tab for TSV.")
    quote: str = Field(
        '"', max_length=1, description='Doubled inside a quoted field; "" means that nothing is quoted.'
    )
    columns: list[str] | None = Field(None, description="Column names of files without a header line.")

    @model_validator(mode="after")
    def _columns_fit(self) -> CsvSource:
        if len(self.delimiter) != 1 or self.delimiter in "\r\n":
            raise ValueError("delimiter must be one character, not a line end")
        if self.quote in ("\r", "\n", self.delimiter):
            raise ValueError("quote must be another character than the delimiter and no line end")
        if self.columns is not None and self.text_field not in self.columns:
            raise ValueError(
                f"text_field {self.text_field!r} is not among columns{suggestion(self.text_field, self.columns)}"
            )
        return self


class ParquetSource(FileSource, FieldsSource):
    """Parquet files, read in runs of row groups."""

    kind: Literal["parquet"]
    errors: Literal["reject", "replace"] = Field("reject", description=_ERRORS)


class CrawlSource(FileSource):
    """Records of a crawl. A large file with a gzip member a record, or plain, is read in pieces by many workers."""

    metadata_fields: list[str] = Field(
        [],
        description='Record headers kept in the metadata column, such as "WARC-Date"; "title" is the page\'s.',
    )


class WarcSource(CrawlSource):
    """WARC files of crawled pages; HTML responses with status 200 become documents."""

    kind: Literal["warc"]
    extract: Literal["main_content", "all_text"] = Field(
        "main_content", description="main_content leaves navigation and boilerplate out."
    )


class ArcSource(CrawlSource):
    """ARC files (version 1), the older format of web archives, read as WARC is."""

    kind: Literal["arc"]
    extract: Literal["main_content", "all_text"] = Field(
        "main_content", description="main_content leaves navigation and boilerplate out."
    )


class WetSource(CrawlSource):
    """WET files: the text that Common Crawl took out of pages (conversion records), as it is."""

    kind: Literal["wet"]
    errors: Literal["reject", "replace"] = Field("reject", description=_ERRORS)


class WikipediaSource(FileSource):
    """MediaWiki XML dumps (pages-articles; plain, bz2, gz, xz, zst). Multistream bz2 dumps are read in pieces.

    Templates, tables, references, files and categories are left out; headings and lists stay readable.
    Redirects and other content than wikitext are skipped and counted.
    """

    kind: Literal["wikipedia"]
    namespaces: list[int] = Field(
        [0], min_length=1, description="Namespaces that are read; 0 are the articles."
    )
    metadata_fields: list[Literal["title", "page_id", "revision_id", "timestamp", "namespace"]] = Field(
        ["title"], description="What is kept of a page in the metadata column."
    )


class HuggingFaceSource(FieldsSource):
    """A dataset of the datasets library: a local directory or a name on the hub. Read without that library.

    A directory is one that save_to_disk wrote, or a tree of Arrow or Parquet files in the hub's layouts
    (CONFIG/SPLIT/*.parquet, data/SPLIT-*.parquet). For a name, the Parquet files that the hub makes of every
    dataset are found when the stage begins and streamed from there.
    """

    kind: Literal["huggingface"]
    name: Name = Field(
        description="The source column of its documents, and the beginning of their made-up ids."
    )
    dataset: str = Field(
        min_length=1,
        description="A directory, relative to the recipe, where there is one; else a name such as owner/name.",
    )
    config: str | None = Field(
        None, description="For datasets with several; left out: default, or the only one."
    )
    split: str = Field("train", description="Which split of the dataset.")
    revision: str | None = Field(
        None, description="Hub only: a branch or commit that holds Parquet files itself."
    )
    errors: Literal["reject", "replace"] = Field("reject", description=_ERRORS)

    def located(self, resolve: Callable[[str], str]) -> Self:
        """The same source with its directory resolved; a name of the hub stays."""
        path = resolve(self.dataset)
        return self.model_copy(update={"dataset": path}) if storage.exists(path) else self


Source = Annotated[
    TextSource
    | JsonlSource
    | CsvSource
    | ParquetSource
    | WarcSource
    | ArcSource
    | WetSource
    | WikipediaSource
    | HuggingFaceSource,
    Field(discriminator="kind"),
]


class CorpusConfig(Section):
    """Where the raw text is and what to do about rows that cannot be read."""

    sources: list[Source] = Field(min_length=1)
    on_error: Literal["reject", "fail"] = Field(
        "reject", description="fail: stop at the first unreadable row."
    )
    max_bad_fraction: Fraction = Field(
        0.01, description="Stop when more than this share of rows is unreadable."
    )
    split_bytes: Positive = Field(
        64_000_000,
        description="Files whose format allows it are cut into pieces of about this size, one output file each.",
    )


class ExactDedupConfig(Section):
    """Documents whose text is equal once case and white space are put aside are kept once."""

    enabled: bool = Field(True, description="Whether to look for them.")


#: Shingles and bands of published pipelines. ``fineweb``: Penedo et al. 2024; ``nemo``: NeMo Curator's fuzzy
#: deduplication; ``rpv2``: RedPajama-V2 at Jaccard similarity 0.7 (Weber et al. 2024), 13-word shingles.
MINHASH_PRESETS: dict[str, dict[str, Any]] = {
    "fineweb": {"shingle_words": 5, "bands": 14, "rows": 8},
    "nemo": {"shingle_characters": 24, "bands": 20, "rows": 13},
    "rpv2": {"shingle_words": 13, "bands": 14, "rows": 9},
}


class MinHashConfig(Section):
    """Near duplicates by MinHash-LSH; defaults are FineWeb's. Implied threshold (1/bands)^(1/rows)."""

    enabled: bool = Field(True, description="Whether to look for them.")
    preset: Literal["fineweb", "nemo", "rpv2"] = Field(
        "fineweb",
        description="Fills the sizes that are not given: 5 words 14x8, 24 characters 20x13, 13 words 14x9.",
    )
    shingle_words: Positive = Field(5, description="Words of a shingle; shorter documents have no signature.")
    shingle_characters: Positive | None = Field(
        None, description="Shingles of so many characters (white space runs as one blank) in place of words."
    )
    bands: Positive = Field(14, description="More bands find pairs less alike, and cost more.")
    rows: Positive = Field(8, description="Hashes of a band; more of them ask for pairs more alike.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(1, description="Of the hash functions.")
    hashing: Literal["fast", "datatrove"] = Field(
        "fast",
        description="datatrove: its 0.10 signatures bit by bit; slow, English, needs the package spacy.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {**MINHASH_PRESETS.get(str(value.get("preset")), {}), **value}

    @model_validator(mode="after")
    def _datatrove_has_words(self) -> MinHashConfig:
        if self.hashing == "datatrove" and self.shingle_characters is not None:
            raise ValueError(
                'hashing = "datatrove" knows shingles of words only: set shingle_characters = "off"'
            )
        return self


class DedupConfig(Section):
    """What holds for exact and near duplicates alike: who is kept, among whom, and what earlier runs had."""

    keep: Literal["id_hash", "smallest_id", "longest", "highest_score"] = Field(
        "id_hash",
        description="Of a cluster: the smallest hash of the id (a fair draw), the smallest id, the longest text, or "
        "the highest `score`; ties by the hash of the id.",
    )
    score: str = Field(
        "language.score", description='For keep = "highest_score": a score of a rule, as `rule.score`.'
    )
    within: Literal["all", "source", "host", "language"] = Field(
        "all",
        description="Duplicates are looked for among all documents, or apart for each source, URL host or language.",
    )
    keep_keys: bool = Field(
        False, description="Leave keys-*.parquet, so that later runs can name this one in `seen`."
    )
    seen: list[str] = Field(
        [],
        description="RUN/clean of earlier runs with keep_keys: what they kept is dropped here as seen_duplicate.",
    )


class LineDedupConfig(Section):
    """Repeated lines, paragraphs or spans of sentences are kept once in the corpus and cut everywhere else.

    `line` is C4's rule as TFDS has it (a line's strip().lower() is compared), `span` the three-sentence spans of C4's
    paper as datatrove has them. The document of the smallest id hash owns a unit; documents dropped by then own none.
    """

    enabled: bool = Field(False, description="Whether to look for them.")
    unit: Literal["line", "paragraph", "span"] = Field("line", description="What is compared and cut.")
    span: Positive = Field(3, description="Sentences of a span.")
    min_characters: Positive = Field(1, description="Units shorter than this, once simplified, are let be.")
    min_words: int = Field(50, ge=0, description="A document cut to fewer words is rejected.")
    min_sentences: int = Field(3, ge=0, description="A document cut to fewer sentences is rejected.")


class EvaluationTask(Section):
    """Evaluation files whose text must not be in the corpus."""

    name: Name
    paths: list[str] = Field(min_length=1, description="Files or globs, relative to the recipe.")
    format: Literal["jsonl", "tsv", "squad"] = Field(
        description="squad: the JSON of SQuAD 1.1, 2.0 and XQuAD."
    )
    fields: list[str] = Field(
        min_length=1,
        description="jsonl: keys; tsv: column names, or numbers from 0 with header = false; "
        "squad: context, question, answers.",
    )
    header: bool = Field(True, description="tsv: whether the first line names the columns.")
    encoding: str = Field("utf-8", description="Of the file, e.g. latin-1.")

    @model_validator(mode="after")
    def _fields_exist(self) -> EvaluationTask:
        known = ("context", "question", "answers")
        for field in self.fields:
            if self.format == "squad" and field not in known:
                raise ValueError(f"fields: squad has no {field!r}{suggestion(field, known)}")
            if self.format == "tsv" and not self.header and not field.isdecimal():
                raise ValueError(f"fields: with header = false a column is a number from 0, not {field!r}")
        return self


class DecontaminateConfig(Section):
    """Word n-grams shared with evaluation items. Off while no task is named.

    13 words are GPT-3's (Brown et al. 2020, appendix C), as are the window, the smallest piece and the most pieces of
    a cut; datatrove takes 12.
    """

    tasks: list[EvaluationTask] = Field([], description="[[clean.decontaminate.tasks]], one table a task.")
    preset: Literal["gpt3", "datatrove"] = Field(
        "gpt3",
        description="datatrove: 12 words, simplified as it does (needs the package spacy), no short items.",
    )
    ngram_words: Positive = Field(13, description="Words of an n-gram.")
    min_words: Positive = Field(
        8, description="Items of fewer words than an n-gram are matched whole, from this many on."
    )
    words: Literal["unicode", "datatrove"] = Field(
        "unicode", description="How words are told and simplified."
    )
    action: Literal["drop", "cut"] = Field(
        "drop", description="cut: take the n-grams and a window around them out."
    )
    window_characters: int = Field(
        200, ge=0, description="cut: characters taken out on both sides of an n-gram."
    )
    min_piece_characters: int = Field(200, ge=0, description="cut: shorter pieces that are left go as well.")
    max_pieces: Positive = Field(10, description="cut: a document that falls into more pieces is dropped.")

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("preset") != "datatrove":
            return value
        return {"ngram_words": 12, "min_words": 12, "words": "datatrove", **value}

    @model_validator(mode="after")
    def _makes_sense(self) -> DecontaminateConfig:
        if self.action == "cut" and self.words == "datatrove":
            raise ValueError(
                'action = "cut" needs words = "unicode": datatrove\'s words have no place in the text'
            )
        names = [task.name for task in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError(f"tasks: two have one name ({', '.join(sorted(names))})")
        return self


class SamplingConfig(Section):
    """How much of one source is wanted. What is left out is recorded like any other rejected document."""

    keep_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="Share of documents, drawn by their ids before anything looks at them."
    )
    max_documents: Positive | None = Field(None, description="Of those that are left after duplicates.")
    max_characters: Positive | None = Field(None, description="The same, in characters of text.")
    weight: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Sources with weights are cut down until their characters stand in this proportion; "
        "nothing is repeated, so the scarcest sets the total.",
    )


class CleanConfig(Section):
    """Which rules decide, in which order, and how duplicates are found."""

    words: WordMode = Field(
        "unicode",
        description="How text is cut into words for the rules. spacy: as datatrove, slower; needs gristmill[spacy].",
    )
    words_language: str = Field(
        "auto",
        description='words = "spacy" only: an ISO 639 code; auto: the language found for each document.',
    )
    repair: bool = Field(True, description="ftfy, NFC, control characters, trailing white space.")
    rules: dict[str, dict[str, Any]] = Field(
        {"language": {}, "gopher_repetition": {}, "gopher_quality": {}},
        description="Rule name to its thresholds, applied and reported in this order.",
    )
    exact_dedup: ExactDedupConfig = ExactDedupConfig()
    minhash: MinHashConfig = MinHashConfig()
    dedup: DedupConfig = DedupConfig()
    line_dedup: LineDedupConfig = LineDedupConfig()
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    sampling: dict[Name, SamplingConfig] = Field(
        {}, description="[clean.sampling.SOURCE], by a source's name."
    )
    max_characters: Positive = Field(
        10_000_000,
        description="Longer documents are rejected unread by the rules, so that memory stays bounded.",
    )


# -- vocab -------------------------------------------------------------------------------------------------------------


class VocabConfig(Section):
    """One vocabulary, learnt from word counts over all clean documents."""

    kind: Literal["wordpiece", "byte_level_bpe", "sentencepiece_unigram", "sentencepiece_bpe"]
    size: Annotated[int, Field(ge=16, le=1_000_000)] = Field(
        description="Ids in all, special tokens included."
    )
    family: Literal["bert", "t5", "gpt"] = Field(description="Which special tokens it has.")
    lowercase: bool = Field(
        True, description="wordpiece only: lower case and strip accents, as uncased BERT."
    )
    min_count: Positive = Field(1, description="Leave out words seen less often; a cut is reported.")
    sentinels: Annotated[int, Field(ge=0, le=10_000)] = Field(0, description="T5's <extra_id_N>; T5 has 100.")
    character_coverage: Annotated[float, Field(gt=0.9, le=1)] = Field(
        0.9995, description="sentencepiece kinds only."
    )

    @model_validator(mode="after")
    def _kinds_fit_families(self) -> VocabConfig:
        allowed = {
            "wordpiece": ("bert",), "byte_level_bpe": ("gpt",),
            "sentencepiece_unigram": ("t5",), "sentencepiece_bpe": ("t5",),
        }[self.kind]  # fmt: skip
        if self.family not in allowed:
            raise ValueError(
                f"a {self.kind} vocabulary is of family {' or '.join(allowed)}, not {self.family}"
            )
        if self.sentinels and self.family != "t5":
            raise ValueError("sentinels belong to family t5")
        return self


# -- build -------------------------------------------------------------------------------------------------------------


class Masking(Section):
    """What every objective that hides tokens of a row can be told."""

    probability: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15, description="Share of a row's tokens to predict."
    )
    max_predictions: Positive | None = Field(None, description="A ceiling on their number.")
    law: Literal["exact", "iid"] = Field(
        "exact",
        description="How many: exact is BERT's rounded share, iid RoBERTa's share rounded up or down by chance.",
    )
    unit: Literal["token", "whole_word", "span"] = Field(
        "token", description="What is chosen: pieces, whole words, or SpanBERT's runs of words."
    )
    span_stop: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="Of unit span: chance that a span ends after each word (geometric lengths)."
    )
    span_words: Annotated[int, Field(gt=0, le=64)] = Field(
        10, description="Of unit span: words of the longest span."
    )
    mask_share: Fraction = Field(0.8, description="Of the predicted tokens, those replaced by [MASK].")
    random_share: Fraction = Field(
        0.1, description="Those replaced by a random token; the rest stay as they are."
    )

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if self.mask_share + self.random_share > 1:
            raise ValueError("mask_share + random_share must not exceed 1")
        if self.unit == "span" and self.law == "iid":
            raise ValueError('unit = "span" has a law of its own (SpanBERT\'s exact count); leave law out')
        return self


class MaskedLMConfig(Masking):
    """Masked language model: BERT's (Devlin et al. 2019, section 3.1), RoBERTa's, whole-word, or SpanBERT's."""

    kind: Literal["masked_lm"]


class NextSentenceConfig(Masking):
    """BERT's masked language model on pairs of segments, half of them from two documents (section 3.1, task 2)."""

    kind: Literal["next_sentence"]
    short_sequences: Fraction = Field(
        0.1, description="Share of documents whose pairs aim at a random shorter length."
    )


class SentenceOrderConfig(Masking):
    """ALBERT's masked language model on pairs of segments in or out of order (Lan et al. 2020, section 3.1)."""

    kind: Literal["sentence_order"]
    short_sequences: Fraction = Field(
        0.1, description="Share of documents whose pairs aim at a random shorter length."
    )


class ReplacedTokenConfig(Section):
    """ELECTRA's inputs (Clark et al. 2020, section 2): masked rows; the generator in the model fills them in."""

    kind: Literal["replaced_token"]
    probability: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15, description="Share of a row's tokens to replace."
    )
    mask_share: Fraction = Field(0.85, description="Of those, the ones the generator sees as [MASK].")


class SpanCorruptionConfig(Section):
    """T5's span corruption (Raffel et al. 2020, section 3.3.4)."""

    kind: Literal["span_corruption"]
    density: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15, description="Share of a row's tokens to replace."
    )
    mean_span: Annotated[float, Field(ge=1)] = Field(3.0, description="Mean tokens of a replaced span.")


class DenoiserConfig(Section):
    """One of the ways a row may be corrupted."""

    mode: Literal["R", "S", "X"] = Field(
        description="R: regular; S: the end of the row, one span; X: extreme. Decides the mode token."
    )
    density: Annotated[float, Field(gt=0, lt=1)] = Field(description="Share of a row's tokens to replace.")
    mean_span: Annotated[float, Field(ge=1)] | None = Field(
        None, description="Mean tokens of a replaced span; not for S."
    )
    weight: Annotated[float, Field(gt=0)] = Field(
        1.0, description="Its share of the rows, beside the others'."
    )

    @model_validator(mode="after")
    def _span_fits_mode(self) -> DenoiserConfig:
        if (self.mode == "S") != (self.mean_span is None):
            raise ValueError(f"mode {self.mode} {'has no' if self.mode == 'S' else 'needs a'} mean_span")
        return self


class MixtureOfDenoisersConfig(Section):
    """UL2's mixture of denoisers (Tay et al. 2023, section 3.1 and its table of settings)."""

    kind: Literal["mixture_of_denoisers"]
    mode_tokens: bool = Field(
        True, description="Begin each input with its mode's token: the vocabulary's last three sentinels."
    )
    denoisers: Annotated[list[DenoiserConfig], Field(min_length=1)] | None = Field(
        None, description="Left out: UL2's seven, equally often."
    )


class PrefixLMConfig(Section):
    """T5's prefix language model (Raffel et al. 2020, section 3.2.1): a row cut in two at random."""

    kind: Literal["prefix_lm"]


class CausalConfig(Section):
    """GPT's language model (Radford et al. 2018, section 3.1): every token from those before it."""

    kind: Literal["causal"]
    document_columns: bool = Field(
        False,
        description="Add segment_ids and position_ids, and predict no document's first token from another's.",
    )


class BidirectionalConfig(Section):
    """ELMo's two language models (Peters et al. 2018, section 3.1): the next token, and the one before."""

    kind: Literal["bidirectional"]


ObjectiveConfig = Annotated[
    MaskedLMConfig
    | NextSentenceConfig
    | SentenceOrderConfig
    | ReplacedTokenConfig
    | SpanCorruptionConfig
    | MixtureOfDenoisersConfig
    | PrefixLMConfig
    | CausalConfig
    | BidirectionalConfig,
    Field(discriminator="kind"),
]


class BuildConfig(Section):
    """One dataset of training rows."""

    vocab: Name = Field(description="A [vocab.NAME].")
    objective: ObjectiveConfig = Field(
        description="What makes examples of rows; a table with a `kind`, see below."
    )
    length: Annotated[int, Field(ge=8, le=65_536)] = Field(description="Tokens of a model input.")
    materialize: bool = Field(
        True, description="False: store plain sequences; fresh noise every epoch at load."
    )
    dupe_factor: Positive = Field(
        1, description="Copies of every sequence with different noise (materialize only)."
    )
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(0.01, description="Share of documents.")

    @model_validator(mode="after")
    def _copies_need_materializing(self) -> BuildConfig:
        if self.dupe_factor > 1 and not self.materialize:
            raise ValueError(
                "dupe_factor needs materialize = true; sequences get fresh noise every epoch anyway"
            )
        if self.dupe_factor > 1 and isinstance(self.objective, CausalConfig | BidirectionalConfig):
            raise ValueError(f"dupe_factor: all copies of {self.objective.kind} rows would be the same")
        return self


# -- pretrain and finetune ---------------------------------------------------------------------------------------------


#: Kinds of rows a model can be trained on: BERT fills in masks, T5 writes what its input lacks.
OBJECTIVES_OF_MODEL = {
    "bert": ("masked_lm",),
    "t5": ("span_corruption", "mixture_of_denoisers", "prefix_lm"),
}


def no_model_for(kind: str, model: str) -> str:
    """The end of an error line: why ``model`` cannot learn from rows of ``kind``, and what can."""
    able = [name for name, kinds in OBJECTIVES_OF_MODEL.items() if kind in kinds]
    other = f"model = {' or '.join(map(repr, able))} can" if able else "no model here can yet"
    return f"model {model} cannot be trained on {kind} rows ({', '.join(OBJECTIVES_OF_MODEL[model])} only); {other}"


class PretrainConfig(Section):
    """One model trained from random weights on one dataset."""

    data: Name = Field(description="A [build.NAME].")
    model: Literal["bert", "t5"] = Field(
        description="bert for masked_lm rows; t5 for span_corruption, mixture_of_denoisers and prefix_lm rows."
    )
    layers: Positive = Field(4, description="Of t5: encoder layers, and as many decoder layers.")
    hidden: Positive = Field(256, description="Width of the model; a multiple of heads.")
    heads: Positive = Field(4, description="Attention heads.")
    feed_forward: Positive = Field(1024, description="Width of the feed-forward layers.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="0 is best while no row is seen often."
    )
    steps: Positive = Field(description="Optimiser steps.")
    global_batch: Positive = Field(64, description="Rows of one optimiser step over all ranks.")
    micro_batch: Positive | None = Field(
        None, description="Rows of one forward pass on a rank; left out: all at once."
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        1e-3, description="Its peak, reached after the warm-up."
    )
    warmup_steps: Annotated[int, Field(ge=0)] = Field(50, description="Steps of a linear rise to the peak.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="How the rate falls after the peak."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="AdamW's, on matrices only.")
    clip_norm: Annotated[float, Field(gt=0)] = Field(
        1.0, description="Gradients longer than this are shortened to it."
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast; weights stay in fp32.")
    log_every: Positive = Field(10, description="Steps between lines of metrics.jsonl.")
    evaluate_every: Positive = Field(100, description="Steps between looks at the validation rows.")
    evaluate_rows: Positive = Field(256, description="Validation rows looked at, from the first.")
    save_every: Positive = Field(100, description="Steps between checkpoints.")
    keep_checkpoints: Positive = Field(2, description="Older checkpoints are removed.")
    threads: Positive | None = Field(None, description="CPU threads of a rank; left out: torch's own choice.")

    @field_validator("precision", mode="before")
    @classmethod
    def _no_half_precision(cls, value: Any) -> Any:
        if value == "fp16":
            raise ValueError(
                "fp16 is refused: T5's activations overflow in it and training diverges; use bf16 or fp32"
            )
        return value

    @model_validator(mode="after")
    def _sizes_fit(self) -> PretrainConfig:
        if self.hidden % self.heads:
            raise ValueError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads})")
        if self.micro_batch is not None and self.micro_batch > self.global_batch:
            raise ValueError("micro_batch must not exceed global_batch")
        return self


class FinetuneConfig(Section):
    """One labelled task, learnt from pretrained weights and, to compare, from scratch."""

    task: Literal["text_classification"] = "text_classification"
    pretrained: Name = Field(description="A [pretrain.NAME].")
    train: str = Field(description='JSONL of {"text": ..., "label": ...}, relative to the recipe.')
    dev: str = Field(description="The same, looked at while training.")
    test: str = Field(description="The same, scored once at the end.")
    labels: list[str] = Field(min_length=2, description="All labels; for two, f1 is of the second.")
    train_rows: Positive | None = Field(None, description="Label budget: a fixed subset; left out: all rows.")
    epochs: Positive = Field(3, description="Times through the training rows.")
    batch_size: Positive = Field(32, description="Rows of a step.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        3e-4, description="Its peak; it falls linearly to zero."
    )
    warmup_fraction: Fraction = Field(0.1, description="Share of the steps in which the rate rises.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="AdamW's, on matrices only.")
    max_length: Annotated[int, Field(ge=8)] = Field(
        128, description="Longer texts are cut at the end; in tokens."
    )
    init: list[Literal["pretrained", "scratch"]] = Field(
        ["pretrained", "scratch"], min_length=1, description="Where the weights start from; each is a run."
    )
    seeds: list[Annotated[int, Field(ge=0, lt=2**63)]] = Field(
        [1], min_length=1, description="Each is a run; the report gives mean and spread."
    )

    @field_validator("labels", "init", "seeds")
    @classmethod
    def _no_repeats(cls, values: list[Any]) -> list[Any]:
        for value in values:
            if values.count(value) > 1:
                raise ValueError(f"{value!r} stands in it twice")
        return values


# -- the whole ---------------------------------------------------------------------------------------------------------


class Recipe(Section):
    """What one run is made of; every other section is a table of its own."""

    name: Name = Field(description="Of the run, for its report.")
    output: str = Field(min_length=1, description="The run directory.")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0, description="All chance follows from it: noise, order, weights."
    )
    corpus: CorpusConfig = Field(description="The raw text.")
    clean: CleanConfig = Field(CleanConfig(), description="Rules and duplicates.")
    vocab: dict[Name, VocabConfig] = Field({}, description="Vocabularies by name.")
    build: dict[Name, BuildConfig] = Field({}, description="Datasets by name.")
    pretrain: dict[Name, PretrainConfig] = Field({}, description="Models by name.")
    finetune: dict[Name, FinetuneConfig] = Field({}, description="Labelled tasks by name.")

    @model_validator(mode="after")
    def _names_refer_to_something(self) -> Recipe:
        names = [source.name for source in self.corpus.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"corpus.sources: two sources have one name ({', '.join(sorted(names))})")
        for name in self.clean.sampling:
            _refer("clean.sampling", name, dict.fromkeys(names), "corpus.sources")
        for name, build in self.build.items():
            _refer(f"build.{name}.vocab", build.vocab, self.vocab, "vocab")
        for name, pretrain in self.pretrain.items():
            _refer(f"pretrain.{name}.data", pretrain.data, self.build, "build")
            kind = self.build[pretrain.data].objective.kind
            if kind not in OBJECTIVES_OF_MODEL[pretrain.model]:
                raise ValueError(
                    f"pretrain.{name}.data = {pretrain.data!r}: {no_model_for(kind, pretrain.model)}"
                )
        for name, finetune in self.finetune.items():
            _refer(f"finetune.{name}.pretrained", finetune.pretrained, self.pretrain, "pretrain")
        return self


def _refer(key: str, value: str, defined: dict[str, Any], section: str) -> None:
    if value not in defined:
        raise ValueError(f"{key} = {value!r}: there is no [{section}.{value}]" + suggestion(value, defined))


def suggestion(word: str, known: typing.Iterable[str]) -> str:
    """``; did you mean 'x'?`` or the list of what there is, to end an error line with."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(map(repr, names))}" if names else "; there is none"


def load_recipe(path: str, output: str | None = None) -> Recipe:
    """Read and check a recipe; ``output`` overrides its own. RecipeError, one line, for anything wrong in it."""
    try:
        data = tomllib.loads(storage.read_bytes(path).decode("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text") from error
    except Exception as error:
        raise RecipeError(str(error)) from error
    if output is not None:
        data["output"] = output
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(f"{path}: {_explain(error)}") from error
    return _with_paths(recipe, os.path.dirname(path))


def _with_paths(recipe: Recipe, folder: str) -> Recipe:
    """The recipe with its input paths made relative to where the command runs."""

    def resolve(path: str) -> str:
        return path if storage.is_remote(path) or os.path.isabs(path) else storage.join(folder, path)

    sources = [source.located(resolve) for source in recipe.corpus.sources]
    finetune = {
        name: task.model_copy(update={key: resolve(getattr(task, key)) for key in ("train", "dev", "test")})
        for name, task in recipe.finetune.items()
    }
    corpus = recipe.corpus.model_copy(update={"sources": sources})
    rules = {name: change_rule_files(options, resolve) for name, options in recipe.clean.rules.items()}
    clean = _with_clean_paths(recipe.clean.model_copy(update={"rules": rules}), resolve)
    return recipe.model_copy(update={"corpus": corpus, "clean": clean, "finetune": finetune})


def change_rule_files(options: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """A rule's options with its file names changed: keys that end with ``_file``, and the values of ``files``."""
    changed = dict(options)
    for key, value in options.items():
        if key.endswith("_file") and isinstance(value, str):
            changed[key] = change(value)
        elif key == "files" and isinstance(value, dict):
            changed[key] = {
                name: change(path) if isinstance(path, str) else path for name, path in value.items()
            }
    return changed


def _with_clean_paths(clean: CleanConfig, resolve: Callable[[str], str]) -> CleanConfig:
    """The clean section with the paths of earlier runs and evaluation files resolved."""
    tasks = [
        task.model_copy(update={"paths": [resolve(path) for path in task.paths]})
        for task in clean.decontaminate.tasks
    ]
    return clean.model_copy(
        update={
            "dedup": clean.dedup.model_copy(update={"seen": [resolve(path) for path in clean.dedup.seen]}),
            "decontaminate": clean.decontaminate.model_copy(update={"tasks": tasks}),
        }
    )


def _explain(error: ValidationError) -> str:
    """One line for the first problem of a ValidationError, and how many more there are.

    Unknown keys come first: a misspelt key is the likely reason that another one is missing.
    """
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    text = _problem(problems[0])
    return text if len(problems) == 1 else f"{text} (and {len(problems) - 1} more)"


def _problem(problem: ErrorDetails) -> str:
    kind, message, context = (
        problem["type"],
        problem["msg"].removeprefix("Value error, "),
        problem.get("ctx", {}),
    )
    where, _ = _walk(problem["loc"])
    key = ".".join(where)
    if kind == "extra_forbidden":
        section = f"[{'.'.join(where[:-1])}]" if len(where) > 1 else "the recipe"
        unknown = str(problem["loc"][-1])
        return f"unknown key {unknown!r} in {section}{suggestion(unknown, _keys_of(_walk(problem['loc'][:-1])[1]))}"
    if kind == "missing":
        return f"{key}: this key is required"
    if kind == "union_tag_not_found":
        return f"{key}: the key 'kind' is required"
    if kind == "string_pattern_mismatch" and problem["loc"][-1] in ("name", "[key]"):
        return f"{key}: {problem['input']!r} is not a name: use lower-case letters, digits, - and _"
    if kind == "value_error":
        return f"{key}: {message}" if key else message
    if kind == "union_tag_invalid":
        key, value, choices = f"{key}.kind", context["tag"], context["expected_tags"]
        message = f"should be one of {choices}{_closest(value, choices)}"
    elif kind == "literal_error":
        value = problem["input"]
        message = f"should be {context['expected']}{_closest(value, context['expected'])}"
    elif kind in ("model_type", "dict_type", "model_attributes_type"):
        value, message = problem["input"], f"a table was expected: [{key}] or {{ ... }}"
    else:
        value, message = problem["input"], f"{message[:1].lower()}{message[1:]}"
    return f"{key} = {_shown(value)}: {message}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _closest(word: Any, quoted: str) -> str:
    """``; did you mean 'x'?`` for a close one of the names that stand quoted in a message of pydantic's."""
    close = difflib.get_close_matches(str(word), re.findall(r"'([^']*)'", quoted), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _walk(location: tuple[str | int, ...]) -> tuple[list[str], list[Any]]:
    """A place as a recipe has it, without pydantic's marks, and the types its value may have."""
    shown: list[str] = []
    models: list[Any] = [Recipe]
    for part in location:
        following: list[Any] = []
        tag = False
        for model in models:
            if isinstance(model, type) and issubclass(model, BaseModel):
                if isinstance(part, str) and part in model.model_fields:
                    following += _alternatives(model.model_fields[part].annotation)
                else:  # a discriminator's tag stays at the same table
                    kind = model.model_fields.get("kind")
                    if kind is not None and part in typing.get_args(kind.annotation):
                        following.append(model)
                        tag = True
            elif typing.get_origin(model) is dict:
                following += _alternatives(typing.get_args(model)[1])
            elif typing.get_origin(model) is list:
                following += _alternatives(typing.get_args(model)[0])
        if not tag and part != "[key]":
            plain = isinstance(part, int) or re.fullmatch(r"[A-Za-z0-9_-]+", part)
            shown.append(str(part) if plain else json.dumps(part))  # quoted as TOML does
        models = following
    return shown, models


def _keys_of(models: list[Any]) -> list[str]:
    return [
        key
        for model in models
        if isinstance(model, type) and issubclass(model, BaseModel)
        for key in model.model_fields
    ]


def _alternatives(annotation: Any) -> list[Any]:
    """An annotation as the list of types it allows."""
    if typing.get_origin(annotation) is Annotated:
        return _alternatives(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [option for part in typing.get_args(annotation) for option in _alternatives(part)]
    return [annotation]
