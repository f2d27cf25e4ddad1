"""The recipe: one TOML file that says what is wanted, checked whole before anything runs.

Unknown keys and wrong values are refused with one line naming the key, the value and what is allowed. Relative input
paths are meant from the recipe file's folder; ``output`` from where the command runs.
"""

from __future__ import annotations

import difflib
import os
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gristmill import storage
from gristmill.errors import RecipeError

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
#: How text is cut into words for the cleaning rules.
WordMode = Literal["unicode", "whitespace", "spacy"]


class Section(BaseModel):
    """A table of the recipe: no unknown keys, no silent conversions, not changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# -- corpus and clean --------------------------------------------------------------------------------------------------


class JsonlSource(Section):
    """JSON lines, plain or compressed (gz, zst, by content), one document a line."""

    kind: Literal["jsonl"]
    name: Name
    paths: list[str] = Field(min_length=1, description="Files or globs, relative to the recipe.")
    text_field: str = "text"
    id_field: str | None = Field("id", description="None: the id is made from file name and row.")
    url_field: str | None = None


class WarcSource(Section):
    """WARC files of crawled pages; HTML responses with status 200 become documents."""

    kind: Literal["warc"]
    name: Name
    paths: list[str] = Field(min_length=1, description="Files or globs, relative to the recipe.")
    extract: Literal["main_content", "all_text"] = Field(
        "main_content", description="main_content leaves navigation and boilerplate out."
    )


Source = Annotated[JsonlSource | WarcSource, Field(discriminator="kind")]


class CorpusConfig(Section):
    """Where the raw text is and what to do about rows that cannot be read."""

    sources: list[Source] = Field(min_length=1)
    on_error: Literal["reject", "fail"] = Field("reject", description="fail: stop at the first unreadable row.")
    max_bad_fraction: Fraction = Field(0.01, description="Stop when more than this share of rows is unreadable.")
    split_bytes: Positive = Field(64_000_000, description="Plain files are cut into pieces of about this size.")


class ExactDedupConfig(Section):
    """Documents whose text is equal once case and white space are put aside are kept once."""

    enabled: bool = True


class MinHashConfig(Section):
    """Near duplicates by MinHash-LSH; defaults are FineWeb's. Implied threshold (1/bands)^(1/rows)."""

    enabled: bool = True
    shingle_words: Positive = 5
    bands: Positive = 14
    rows: Positive = 8
    seed: int = 1


class CleanConfig(Section):
    """Which rules decide, in which order, and how duplicates are found."""

    words: WordMode = Field(
        "unicode",
        description="How text is cut into words for the rules; spacy: as datatrove does, slower at first, needs gristmill[spacy].",
    )
    words_language: str = Field(
        "auto", description='words = "spacy" only: an ISO 639 code; auto: the language found for each document.'
    )
    repair: bool = Field(True, description="ftfy, NFC, control characters, trailing white space.")
    rules: dict[str, dict[str, Any]] = Field(
        default_factory=lambda: {"language": {}, "gopher_repetition": {}, "gopher_quality": {}},
        description="Rule name to its thresholds, applied and reported in this order.",
    )
    exact_dedup: ExactDedupConfig = ExactDedupConfig()
    minhash: MinHashConfig = MinHashConfig()
    max_characters: Positive = Field(
        10_000_000, description="Longer documents are rejected unread by the rules, so that memory stays bounded."
    )
    batch_documents: Positive = Field(1024, description="Documents analysed together.")


# -- vocab -------------------------------------------------------------------------------------------------------------


class VocabConfig(Section):
    """One vocabulary, learnt from word counts over all clean documents."""

    kind: Literal["wordpiece", "byte_level_bpe", "sentencepiece_unigram", "sentencepiece_bpe"]
    size: Annotated[int, Field(ge=16, le=1_000_000)] = Field(description="Ids in all, special tokens included.")
    family: Literal["bert", "t5", "gpt"] = Field(description="Which special tokens it has.")
    lowercase: bool = Field(True, description="wordpiece only: lower case and strip accents, as uncased BERT.")
    min_count: Positive = Field(1, description="Leave out words seen less often; a cut is reported.")
    sentinels: Annotated[int, Field(ge=0, le=10_000)] = Field(0, description="T5's <extra_id_N>; T5 has 100.")
    character_coverage: Annotated[float, Field(gt=0.9, le=1)] = Field(0.9995, description="sentencepiece kinds only.")

    @model_validator(mode="after")
    def _kinds_fit_families(self) -> VocabConfig:
        allowed = {
            "wordpiece": ("bert",), "byte_level_bpe": ("gpt",),
            "sentencepiece_unigram": ("t5",), "sentencepiece_bpe": ("t5",),
        }[self.kind]  # fmt: skip
        if self.family not in allowed:
            raise ValueError(f"a {self.kind} vocabulary is of family {' or '.join(allowed)}, not {self.family}")
        if self.sentinels and self.family != "t5":
            raise ValueError("sentinels belong to family t5")
        return self


# -- build -------------------------------------------------------------------------------------------------------------


class MaskedLMConfig(Section):
    """BERT's masked language model (Devlin et al. 2019, section 3.1)."""

    kind: Literal["masked_lm"]
    probability: Annotated[float, Field(gt=0, lt=1)] = 0.15
    max_predictions: Positive | None = Field(None, description="None: no ceiling beside the probability.")
    mask_share: Fraction = 0.8
    random_share: Fraction = 0.1

    @model_validator(mode="after")
    def _shares_fit(self) -> MaskedLMConfig:
        if self.mask_share + self.random_share > 1:
            raise ValueError("mask_share + random_share must not exceed 1")
        return self


class SpanCorruptionConfig(Section):
    """T5's span corruption (Raffel et al. 2020, section 3.3.4)."""

    kind: Literal["span_corruption"]
    density: Annotated[float, Field(gt=0, lt=1)] = 0.15
    mean_span: Annotated[float, Field(ge=1)] = 3.0


ObjectiveConfig = Annotated[MaskedLMConfig | SpanCorruptionConfig, Field(discriminator="kind")]


class BuildConfig(Section):
    """One dataset of training rows."""

    vocab: Name
    objective: ObjectiveConfig
    length: Annotated[int, Field(ge=8, le=65_536)] = Field(description="Tokens of a model input.")
    materialize: bool = Field(True, description="False: store plain sequences; fresh noise every epoch at load.")
    dupe_factor: Positive = Field(1, description="Copies of every sequence with different noise (materialize only).")
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(0.01, description="Share of documents.")

    @model_validator(mode="after")
    def _copies_need_materializing(self) -> BuildConfig:
        if self.dupe_factor > 1 and not self.materialize:
            raise ValueError("dupe_factor needs materialize = true; sequences get fresh noise every epoch anyway")
        return self


# -- pretrain and finetune ---------------------------------------------------------------------------------------------


class PretrainConfig(Section):
    """One model trained from random weights on one dataset."""

    data: Name = Field(description="A [build.NAME].")
    model: Literal["bert", "t5"]
    layers: Positive = 4
    hidden: Positive = 256
    heads: Positive = 4
    feed_forward: Positive = 1024
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    steps: Positive
    global_batch: Positive = Field(64, description="Rows of one optimiser step over all ranks.")
    micro_batch: Positive | None = Field(None, description="Rows of one forward pass on a rank; None: all at once.")
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    log_every: Positive = 10
    evaluate_every: Positive = 100
    evaluate_rows: Positive = 256
    save_every: Positive = 100
    keep_checkpoints: Positive = 2
    threads: Positive | None = Field(None, description="CPU threads of a rank; None: torch's own choice.")

    @field_validator("precision", mode="before")
    @classmethod
    def _no_half_precision(cls, value: Any) -> Any:
        if value == "fp16":
            raise ValueError("fp16 is refused: T5's activations overflow in it and training diverges; use bf16 or fp32")
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
    dev: str
    test: str
    labels: list[str] = Field(min_length=2, description="All labels; for two, f1 is of the second.")
    train_rows: Positive | None = Field(None, description="Label budget: a fixed subset; None: all rows.")
    epochs: Positive = 3
    batch_size: Positive = 32
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    warmup_fraction: Fraction = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_length: Annotated[int, Field(ge=8)] = 128
    init: list[Literal["pretrained", "scratch"]] = Field(["pretrained", "scratch"], min_length=1)
    seeds: list[Annotated[int, Field(ge=0, lt=2**63)]] = Field([1], min_length=1)


# -- the whole ---------------------------------------------------------------------------------------------------------


class Recipe(Section):
    """The whole file."""

    name: Name
    output: str = Field(min_length=1, description="The run directory.")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    corpus: CorpusConfig
    clean: CleanConfig = CleanConfig()
    vocab: dict[Name, VocabConfig] = {}
    build: dict[Name, BuildConfig] = {}
    pretrain: dict[Name, PretrainConfig] = {}
    finetune: dict[Name, FinetuneConfig] = {}

    @model_validator(mode="after")
    def _names_refer_to_something(self) -> Recipe:
        names = [source.name for source in self.corpus.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"corpus.sources: two sources have one name ({', '.join(sorted(names))})")
        for name, build in self.build.items():
            _refer(f"build.{name}.vocab", build.vocab, self.vocab, "vocab")
        for name, pretrain in self.pretrain.items():
            _refer(f"pretrain.{name}.data", pretrain.data, self.build, "build")
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

    sources = [
        source.model_copy(update={"paths": [resolve(path) for path in source.paths]}) for source in recipe.corpus.sources
    ]
    finetune = {
        name: task.model_copy(update={key: resolve(getattr(task, key)) for key in ("train", "dev", "test")})
        for name, task in recipe.finetune.items()
    }
    corpus = recipe.corpus.model_copy(update={"sources": sources})
    rules = {name: change_rule_files(options, resolve) for name, options in recipe.clean.rules.items()}
    clean = recipe.clean.model_copy(update={"rules": rules})
    return recipe.model_copy(update={"corpus": corpus, "clean": clean, "finetune": finetune})


def change_rule_files(options: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """A rule's options with its file names changed: keys that end with ``_file``, and the values of ``files``."""
    changed = dict(options)
    for key, value in options.items():
        if key.endswith("_file") and isinstance(value, str):
            changed[key] = change(value)
        elif key == "files" and isinstance(value, dict):
            changed[key] = {name: change(path) if isinstance(path, str) else path for name, path in value.items()}
    return changed


def _explain(error: ValidationError) -> str:
    """One line for the first problem of a ValidationError, and how many more there are."""
    problems = error.errors()
    first = problems[0]
    where = [str(part) for part in first["loc"]]
    key = ".".join(where)
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        section = f"[{'.'.join(where[:-1])}]" if len(where) > 1 else "the recipe"
        text = f"unknown key {where[-1]!r} in {section}{suggestion(where[-1], _keys_at(list(first['loc'][:-1])))}"
    elif first["type"] == "missing":
        text = f"{key}: this key is required"
    elif first["type"] == "union_tag_not_found":
        text = f"{key}: the key 'kind' is required"
    elif first["type"] == "string_pattern_mismatch" and where[-1] in ("name", "[key]"):
        text = f"{key}: {first['input']!r} is not a name: use lower-case letters, digits, - and _"
    elif first["type"] == "value_error":
        text = f"{key}: {message}" if key else message
    else:
        text = f"{key} = {first['input']!r}: {message[:1].lower()}{message[1:]}"
    return text if len(problems) == 1 else f"{text} (and {len(problems) - 1} more)"


def _keys_at(location: list[str | int]) -> list[str]:
    """The keys allowed at a place of the recipe, found by walking the models' annotations."""
    models: list[Any] = [Recipe]
    for part in location:
        following: list[Any] = []
        for model in models:
            if isinstance(model, type) and issubclass(model, BaseModel):
                if isinstance(part, str) and part in model.model_fields:
                    following += _alternatives(model.model_fields[part].annotation)
                else:  # a discriminator's tag stays at the same table
                    kind = model.model_fields.get("kind")
                    if kind is not None and part in typing.get_args(kind.annotation):
                        following.append(model)
            elif typing.get_origin(model) is dict:
                following += _alternatives(typing.get_args(model)[1])
            elif typing.get_origin(model) is list:
                following += _alternatives(typing.get_args(model)[0])
        models = following
    return [key for model in models if isinstance(model, type) and issubclass(model, BaseModel) for key in model.model_fields]


def _alternatives(annotation: Any) -> list[Any]:
    """An annotation as the list of types it allows."""
    if typing.get_origin(annotation) is Annotated:
        return _alternatives(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [option for part in typing.get_args(annotation) for option in _alternatives(part)]
    return [annotation]
