"""The rules a recipe can name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import ValidationError

from gristmill.errors import RecipeError
from gristmill.recipe import suggestion
from pipelines.cleaning.c4 import C4, C4Paragraphs
from pipelines.cleaning.fineweb import FineWeb
from pipelines.cleaning.gopher_quality import GopherQuality
from pipelines.cleaning.gopher_repetition import GopherRepetition
from pipelines.cleaning.language import Language
from pipelines.cleaning.length import Length
from pipelines.cleaning.rules import Rule

#: Name in a recipe → rule class. A class has ``name``, ``Config`` (its pydantic model) and takes a
#: ``Config``.
RULES: dict[str, type[Any]] = {
    rule.name: rule for rule in (Language, Length, GopherRepetition, GopherQuality, C4, C4Paragraphs, FineWeb)
}


def make_rule(name: str, options: Mapping[str, Any]) -> Rule:
    """The rule of that name with options over its defaults; RecipeError, one line, for an unknown name or a
    bad option.
    """
    rule = RULES.get(name)
    if rule is None:
        raise RecipeError(f"clean.rules.{name}: there is no rule of this name{suggestion(name, RULES)}")
    try:
        config = rule.Config.model_validate(dict(options))
    except ValidationError as error:
        raise RecipeError(_explain(name, rule.Config.model_fields, error)) from error
    return cast(Rule, rule(config))


def _explain(name: str, fields: Mapping[str, object], error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"clean.rules.{name}: unknown key {key!r}{suggestion(key, fields)}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"clean.rules.{name}.{key} = {problem['input']!r}: {message[:1].lower()}{message[1:]}"
