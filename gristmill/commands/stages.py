"""``gristmill run`` and the verbs of single stages: which rooms are called, in which order, with which directories."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from gristmill import layout, storage
from gristmill.errors import InputError, RecipeError
from gristmill.manifest import MANIFEST_NAME
from gristmill.objectives import make_objective
from gristmill.progress import Reporter
from gristmill.recipe import BuildConfig, Recipe, VocabConfig, load_recipe, suggestion
from tokenization.specials import BERT_TOKENS, GPT_TOKENS, T5_TOKENS, find_special, sentinel

if TYPE_CHECKING:
    from pipelines.runners import Execution

T = TypeVar("T")


def load(path: str, output: str | None) -> Recipe:
    """Read a recipe and check the parts that only the pipelines' room can check."""
    recipe = load_recipe(path, output)
    for name, build in recipe.build.items():
        try:
            _check_build(build, recipe.vocab[build.vocab])
        except RecipeError as error:
            raise RecipeError(f"{path}: build.{name}: {error}") from error
    try:
        from pipelines.cleaning.ruleset import RuleSet
    except ModuleNotFoundError:  # a training node has no pipelines extra; it does not clean
        return recipe
    RuleSet.shared(recipe.clean)
    return recipe


def _check_build(build: BuildConfig, vocabulary: VocabConfig) -> None:
    """Refuse what no vocabulary of this family and size can make work, before anything runs."""
    tokens = {
        "bert": [*BERT_TOKENS], "gpt": [*GPT_TOKENS],
        "t5": [*T5_TOKENS, *(sentinel(number) for number in range(vocabulary.sentinels))],
    }[vocabulary.family]  # fmt: skip
    special = find_special({token: number for number, token in enumerate(tokens)})
    make_objective(build.objective, length=build.length, special=special, vocab_size=vocabulary.size)


def run_all(recipe: Recipe, execution: Execution) -> None:
    """Every stage in order, then the report."""
    from gristmill.report import write_report

    start = time.monotonic()
    reporter = execution.reporter
    run_clean(recipe, execution)
    if recipe.vocab:
        run_vocab(recipe, execution, None)
    if recipe.build:
        run_build(recipe, execution, None)
    if recipe.pretrain:
        run_pretrain(recipe, reporter, None)
    if recipe.finetune:
        run_finetune(recipe, reporter, None)
    page = write_report(recipe.output)
    reporter.note(f"done in {time.monotonic() - start:.0f} s; look at {page}")


def run_clean(recipe: Recipe, execution: Execution) -> None:
    """The clean stage."""
    from pipelines.clean import clean

    clean(recipe, execution)


def run_vocab(recipe: Recipe, execution: Execution, only: str | None) -> None:
    """The vocab stage, all vocabularies or one."""
    from pipelines.vocab import vocab

    _need(layout.clean_dir(recipe.output), "clean")
    for name in _chosen(recipe.vocab, only, "vocab"):
        vocab(recipe, name, execution)


def run_build(recipe: Recipe, execution: Execution, only: str | None) -> None:
    """The build stage, all datasets or one."""
    from pipelines.build import build

    _need(layout.clean_dir(recipe.output), "clean")
    for name, config in _chosen(recipe.build, only, "build").items():
        _need(layout.vocab_dir(recipe.output, config.vocab), "vocab")
        build(recipe, name, execution)


def run_pretrain(recipe: Recipe, reporter: Reporter, only: str | None) -> None:
    """The pretrain stage, all models or one."""
    from training.pretrain import pretrain

    for name, config in _chosen(recipe.pretrain, only, "pretrain").items():
        _need(layout.examples_dir(recipe.output, config.data, "train"), "build")
        reporter.title(f"pretrain {name} ({config.model}, {config.steps} steps)")
        pretrain(
            config,
            data_directory=layout.build_dir(recipe.output, config.data),
            vocab_directory=layout.vocab_dir(recipe.output, recipe.build[config.data].vocab),
            output=layout.pretrain_dir(recipe.output, name),
            seed=recipe.seed,
            reporter=reporter,
        )


def run_finetune(recipe: Recipe, reporter: Reporter, only: str | None) -> None:
    """The finetune stage, all tasks or one."""
    from training.finetune import finetune

    for name, config in _chosen(recipe.finetune, only, "finetune").items():
        _need(layout.pretrain_dir(recipe.output, config.pretrained), "pretrain")
        reporter.title(f"finetune {name} ({config.task})")
        finetune(
            config,
            pretrain_directory=layout.pretrain_dir(recipe.output, config.pretrained),
            vocab_directory=layout.vocab_dir(recipe.output, vocab_of(recipe, name)),
            output=layout.finetune_dir(recipe.output, name),
            seed=recipe.seed,
            reporter=reporter,
        )


def vocab_of(recipe: Recipe, task: str) -> str:
    """The vocabulary a fine-tuning task is encoded with: that of its pretrained model's data."""
    return recipe.build[recipe.pretrain[recipe.finetune[task].pretrained].data].vocab


def _chosen(defined: dict[str, T], only: str | None, section: str) -> dict[str, T]:
    if not defined:
        raise RecipeError(f"the recipe has no [{section}.NAME] section, so there is nothing to {section}")
    if only is None:
        return defined
    if only not in defined:
        raise RecipeError(f"--only {only}: the recipe has no [{section}.{only}]{suggestion(only, defined)}")
    return {only: defined[only]}


def _need(directory: str, stage: str) -> None:
    if not storage.exists(storage.join(directory, MANIFEST_NAME)):
        raise InputError(
            f"{directory}: not there or not finished; run gristmill {stage} (or gristmill run) first"
        )
