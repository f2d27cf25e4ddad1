"""The command line: one verb a stage, and verbs to look at what stages wrote.

Each command imports its room when it runs, so that ``--help`` is quick and a node needs only its own extras.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import click
import typer
from rich.console import Console
from rich.markup import escape

from gristmill import __version__
from gristmill.errors import GristmillError
from gristmill.progress import Reporter
from gristmill.recipe import suggestion

app = typer.Typer(
    name="gristmill",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Raw corpora in; clean documents, vocabularies, training-ready shards, pretrained models and scores out.

    [bold]gristmill run recipes/demo.toml[/bold] goes the whole way and skips what is finished already;
    every stage also runs alone. A killed stage goes on where it was when run again.

    Beam's own options follow two dashes: [bold]gristmill clean R.toml -- --runner=FlinkRunner --flink_master=...[/bold]

    Exit codes: 0 done, 1 a check failed or an input is bad, 2 bad usage or recipe, 130 stopped from the keyboard.""",
)

RecipePath = Annotated[str, typer.Argument(metavar="RECIPE", help="The recipe, a TOML file.")]
Output = Annotated[
    str | None, typer.Option("--output", "-o", metavar="DIR", help="Run directory, instead of the recipe's.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", "-w", min=1, metavar="N", help="Worker processes of Beam stages. Default: by input size."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")]
Only = Annotated[
    str | None, typer.Option("--only", metavar="NAME", help="Just this one of the recipe's, not all.")
]
AnyPath = Annotated[
    str, typer.Argument(metavar="PATH", help="A run, a stage's directory, or one file of it.")
]


def _execution(context: typer.Context, workers: int | None, quiet: bool) -> Any:
    from pipelines.runners import Execution

    return Execution(workers, tuple(context.obj or ()), Reporter(quiet))


@app.command()
def run(
    context: typer.Context,
    recipe: RecipePath,
    output: Output = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Run every stage of a recipe, skipping finished ones, and write RUN/report.html."""
    from gristmill.commands import stages

    stages.run_all(stages.load(recipe, output), _execution(context, workers, quiet))


@app.command()
def clean(
    context: typer.Context,
    recipe: RecipePath,
    output: Output = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Clean the corpus: repair, score by rules, remove duplicates. Writes RUN/clean."""
    from gristmill.commands import stages

    stages.run_clean(stages.load(recipe, output), _execution(context, workers, quiet))


@app.command()
def vocab(
    context: typer.Context, recipe: RecipePath, only: Only = None, output: Output = None, workers: Workers = None,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Count the words of the clean documents and learn vocabularies from the counts. Writes RUN/vocab/NAME."""
    from gristmill.commands import stages

    stages.run_vocab(stages.load(recipe, output), _execution(context, workers, quiet), only)


@app.command()
def build(
    context: typer.Context, recipe: RecipePath, only: Only = None, output: Output = None, workers: Workers = None,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Encode the clean documents into training shards. Writes RUN/examples/NAME/{train,validation}."""
    from gristmill.commands import stages

    stages.run_build(stages.load(recipe, output), _execution(context, workers, quiet), only)


@app.command()
def pretrain(recipe: RecipePath, only: Only = None, output: Output = None, quiet: Quiet = False) -> None:
    """Pretrain models on the shards. Writes RUN/pretrain/NAME.

    Several processes: torchrun --nproc-per-node N -m gristmill pretrain RECIPE
    """
    from gristmill.commands import stages

    stages.run_pretrain(stages.load(recipe, output), Reporter(quiet), only)


@app.command()
def finetune(recipe: RecipePath, only: Only = None, output: Output = None, quiet: Quiet = False) -> None:
    """Fine-tune pretrained models on labelled tasks, beside the same model from scratch. Writes RUN/finetune/NAME."""
    from gristmill.commands import stages

    stages.run_finetune(stages.load(recipe, output), Reporter(quiet), only)


@app.command()
def plan(recipe: RecipePath, output: Output = None) -> None:
    """Check a recipe and print which stages are finished and which would run."""
    from gristmill.commands import stages
    from gristmill.commands.plan import print_plan

    print_plan(stages.load(recipe, output))


@app.command()
def keys(
    section: Annotated[
        str | None, typer.Argument(metavar="[SECTION]", help="Only this part, such as clean.rules.")
    ] = None,
) -> None:
    """Print every key a recipe may have, with its default and meaning."""
    from gristmill.commands.keys import keys_text

    print(keys_text(section))


@app.command()
def report(run_directory: Annotated[str, typer.Argument(metavar="RUN", help="A run directory.")]) -> None:
    """Write RUN/report.html from whatever stages are there."""
    from gristmill.report import write_report

    print(write_report(run_directory))


@app.command()
def inspect(
    path: AnyPath,
    rows: Annotated[int, typer.Option("--rows", "-n", min=0, help="How many rows to show.")] = 3,
) -> None:
    """Say what an artefact is, how much is in it, and show a few rows, decoded."""
    from gristmill.commands.inspect import inspect_path

    inspect_path(path, rows)


@app.command()
def verify(path: AnyPath) -> None:
    """Check every checksum under a run or a stage's directory; exit code 1 names what is damaged."""
    from gristmill.commands.verify import verify_path

    verify_path(path)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point: everything after ``--`` is Beam's; errors become one line and an exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    cut = words.index("--") if "--" in words else len(words)
    own, beam_options = words[:cut], words[cut + 1 :]
    if own == ["--version"]:
        print(f"gristmill {__version__}")
        sys.exit(0)
    command = typer.main.get_command(app)
    console = Console(stderr=True, highlight=False)
    try:
        result = command.main(args=own, prog_name="gristmill", standalone_mode=False, obj=beam_options)
        sys.exit(result if isinstance(result, int) else 0)
    except GristmillError as error:
        console.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except click.exceptions.UsageError as error:
        console.print(f"[bold red]error:[/bold red] {escape(_usage(error, command))}", soft_wrap=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.exceptions.Abort):
        console.print("stopped; run the same command again to go on from here")
        sys.exit(130)
    except ModuleNotFoundError as error:
        extra = {"apache_beam": "pipelines", "torch": "training", "transformers": "training"}.get(
            error.name or ""
        )
        if extra is None:
            raise
        console.print(
            f"[bold red]error:[/bold red] this needs {error.name}: pip install 'gristmill\\[{extra}]'",
            soft_wrap=True,
        )
        sys.exit(2)


def _usage(error: click.exceptions.UsageError, command: Any) -> str:
    message = error.format_message()
    if message.startswith("No such command"):
        word = message.split("'")[1]
        return f"no such command {word!r}{suggestion(word, command.commands)}"
    place = (
        f" (see gristmill {error.ctx.info_name} --help)"
        if error.ctx and error.ctx.info_name != "gristmill"
        else ""
    )
    return message.rstrip(".") + place
