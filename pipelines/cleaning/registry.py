"""The rules a recipe can name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from pydantic import ValidationError

from gristmill.errors import RecipeError
from gristmill.recipe import off_is_none, suggestion
from pipelines.cleaning.gopher_quality import GopherQuality
from pipelines.cleaning.gopher_repetition import GopherRepetition
from pipelines.cleaning.language import Language
from pipelines.cleaning.length import Length
from pipelines.cleaning.rules import Rule

#: Name in a recipe → rule class. A class has ``name``, ``Config`` (its pydantic model) and takes a
#: ``Config``.
RULES: dict[str, type[Any]] = {
    rule.name: rule for rule in (Language, Length, GopherRepetition, GopherQuality)
}


def make_rule(name: str, options: Mapping[str, Any]) -> Rule:
    """The rule of that name with options over its defaults; RecipeError, one line, for an unknown name or a
    bad option.
    """
    rule = RULES.get(name)
    if rule is None:
        raise RecipeError(f"clean.rules.{name}: there is no rule of this name{suggestion(name, RULES)}")
    try:
        # As JSON, whose arrays are good for tuples; strict about all else.
        given = {key: off_is_none(value) for key, value in options.items()}
        config = rule.Config.model_validate_json(json.dumps(given, default=str))
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
