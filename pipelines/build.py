"""The build stage: clean documents and a vocabulary in; sharded Arrow datasets of training examples out.

Map-only: each unit of documents becomes one train and one validation shard. Every token is accounted for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apache_beam as beam
import pyarrow as pa

from gristmill import layout, storage
from gristmill.errors import GristmillError, InputError
from gristmill.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    fingerprint,
    is_finished,
    manifest_digest,
    write_manifest,
)
from gristmill.objectives import Objective
from gristmill.objectives.words import pack_flags
from gristmill.recipe import Masking, Recipe
from gristmill.shards import open_shard, write_dataset_files
from gristmill.stage import STAGING_PREFIX, Stopwatch, begin
from pipelines.build_unit import COUNTED, SPLITS, BuildContext, account_name, build_unit, objective_of
from pipelines.runners import Execution, run_pipeline, worker_error
from pipelines.units import Unit, make_units
from tokenization.render import render_example
from tokenization.vocabulary import Vocabulary

#: Examples decoded for the report.
SAMPLES = 3


def build_fingerprint(recipe: Recipe, name: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Fingerprint, recipe part and input digests of one dataset; clean and its vocabulary must be finished."""
    config = recipe.build[name]
    part = {**config.model_dump(mode="json"), "seed": recipe.seed}
    inputs = {
        "clean": manifest_digest(layout.clean_dir(recipe.output)),
        "vocab": manifest_digest(layout.vocab_dir(recipe.output, config.vocab)),
    }
    return fingerprint("build", part, inputs), part, inputs


def build(recipe: Recipe, name: str, execution: Execution) -> bool:
    """Build one dataset unless it is finished; True when it ran."""
    config = recipe.build[name]
    directory = layout.build_dir(recipe.output, name)
    directories = tuple(layout.examples_dir(recipe.output, name, split) for split in SPLITS)
    reporter = execution.reporter
    print_, part, inputs = build_fingerprint(recipe, name)
    if all(is_finished(each, print_) for each in directories):
        reporter.note(f"build {name}: {directory} is finished, skipped")
        return False
    reporter.title(f"build {name} ({config.objective.kind}, {config.length} tokens)")
    watch = Stopwatch()
    vocab_directory = layout.vocab_dir(recipe.output, config.vocab)
    vocabulary = Vocabulary.load(vocab_directory)
    objective = objective_of(config, vocabulary)  # refuses impossible settings before any work
    units = make_units(layout.clean_dir(recipe.output))
    total = sum(unit.weight for unit in units)
    staging = _begin(directory, directories, print_)
    context = BuildContext(
        config, vocab_directory, (directories[0], directories[1]), staging, len(units), recipe.seed
    )

    def finished() -> float:
        present = set(storage.list_files(staging))
        return sum(
            unit.weight for unit in units if storage.base_name(account_name(staging, unit.number)) in present
        )

    with watch.step("encode, pack, write", total):
        run_pipeline(
            execution, _pipeline(units, context, vocabulary.digest), label="encode, pack, write",
            input_bytes=total, finished_bytes=finished,
        )  # fmt: skip
    accounts = [storage.read_json(account_name(staging, unit.number)) for unit in units]
    totals = {
        split: {key: sum(a[split]["counts"][key] for a in accounts) for key in COUNTED} for split in SPLITS
    }
    if not totals["train"]["rows"]:
        raise InputError(
            f"{layout.clean_dir(recipe.output)}: too little text for one row of {config.length} tokens"
        )
    report = {
        "stage": "build", "name": name, "objective": config.objective.kind, "length": config.length,
        "kind": "examples" if config.materialize else "sequences", **totals,
        "samples": _samples(directories[0], accounts, config.objective.kind, objective, recipe.seed, vocabulary),
    }  # fmt: skip
    storage.write_json(storage.join(directory, "report.json"), report)
    watch.write(directory)
    details = {
        "kind": report["kind"], "objective": config.objective.model_dump(mode="json"), "objective_seed": recipe.seed,
        "length": config.length, "vocab_size": vocabulary.size, "special": vocabulary.special.as_dict(),
        "tokenizer_digest": vocabulary.digest,
    }  # fmt: skip
    if isinstance(config.objective, Masking) and config.objective.unit != "token":
        details["continuations"] = pack_flags(vocabulary.continuations)
    # Train last: a dataset whose train split is finished is finished.
    for split, split_directory in reversed(list(zip(SPLITS, directories, strict=True))):
        shards = [FileEntry.model_validate(account[split]["file"]) for account in accounts]
        schema = _schema(storage.join(split_directory, shards[0].name))
        extra = write_dataset_files(split_directory, shards, schema)
        write_manifest(
            split_directory,
            Manifest(
                stage="build", name=name, recipe=part, inputs=inputs, fingerprint=print_, files=[*shards, *extra],
                totals=totals[split], details={**details, "split": split},
            ),
        )  # fmt: skip
    storage.remove_tree(staging)
    train, validation = totals["train"], totals["validation"]
    reporter.note(
        f"  {train['rows']:,} train and {validation['rows']:,} validation rows, {train['tokens']:,} tokens, "
        f"{train['padding_tokens'] + validation['padding_tokens']:,} of padding"
    )
    return True


def _begin(directory: str, directories: tuple[str, ...], print_: str) -> str:
    """A staging directory; shards of a killed run with the same inputs stay, others go."""
    staged = storage.join(directory, STAGING_PREFIX + print_[:16])
    if storage.exists(
        storage.join(directories[0], MANIFEST_NAME)
    ):  # written last: work staged beside it was done with
        storage.remove_tree(staged)
    resumed = storage.exists(staged)
    staging = begin(directory, print_)
    for each in directories:
        if not resumed:
            storage.remove_tree(each)
        storage.make_directory(each)
        storage.remove_file(storage.join(each, MANIFEST_NAME))
        storage.remove_partials(each)
    return staging


def _pipeline(units: list[Unit], context: BuildContext, digest: str) -> Callable[[beam.Pipeline], object]:
    def build(pipeline: beam.Pipeline) -> None:
        _ = (
            pipeline
            | "Units" >> beam.Create(units)
            | "Spread" >> beam.Reshuffle()
            | "Build" >> beam.Map(_one, context, digest)
        )

    return build


def _one(unit: Unit, context: BuildContext, digest: str) -> None:
    try:
        build_unit(unit, context, digest)
    except GristmillError as error:
        raise worker_error(error) from error


def _schema(path: str) -> pa.Schema:
    with storage.open_input(path) as file:
        return pa.ipc.open_stream(file).schema


def _samples(
    directory: str,
    accounts: list[dict[str, Any]],
    kind: str,
    objective: Objective,
    seed: int,
    vocabulary: Vocabulary,
) -> list[dict[str, Any]]:
    """The first rows of the first shard that has any, decoded; sequences with their noise of the first epoch."""
    name = next(account["train"]["file"]["name"] for account in accounts if account["train"]["file"]["rows"])
    columns = {
        key: values[:SAMPLES] for key, values in open_shard(storage.join(directory, name)).columns.items()
    }
    if "labels" not in columns:
        rows = (columns["input_ids"], columns["length"], columns["sample_id"])
        columns |= objective(*rows, seed=seed, epoch=0)
    return [
        render_example(vocabulary, kind, {key: values[row] for key, values in columns.items()})
        for row in range(len(columns["length"]))
    ]
