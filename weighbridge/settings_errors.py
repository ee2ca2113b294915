"""What is wrong with a settings file, for someone who edits YAML: the path of the setting, then the mistake.

A value is never repeated: it may be a secret.
"""

from __future__ import annotations

import difflib
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from exporter.http_address import without_secrets

# By pydantic's name of the error, which speaks of Python's types.
_WORDS = {
    "string_pattern_mismatch": "expected a name of small letters, digits, - and _, up to 64 of them",  # of a sink
    "missing": "is needed, and not given",
    "model_type": "expected settings below it",
    "dict_type": "expected names with values below it",
    "tuple_type": "expected a list, such as [a, b]",
    "list_type": "expected a list, such as [a, b]",
    "string_type": "expected text; a number, a date, yes or no need quotes here",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
}


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """The first problem as `dotted.path: what is wrong`, with the closest known key for one that nobody knows."""
    problems = error.errors(include_url=False, include_input=False)
    unknown = (problem for problem in problems if problem["type"] == "extra_forbidden")
    problem = next(unknown, problems[0])  # a misspelt setting is why the one that is meant is missing
    more = error.error_count() - 1
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        text = f"{path}: no such setting" + _suggestion(problem["loc"], root)
    else:
        message = _in_words(problem)
        text = path + message if message.startswith(".") else f"{path}: {message}" if path else message
    return without_secrets(text) + (f" (and {more} more)" if more else "")


def _in_words(problem: ErrorDetails) -> str:
    if problem["type"] == "literal_error":
        return f"expected {problem['ctx']['expected'].replace(chr(39), '')}"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return _WORDS.get(problem["type"], message)


def _suggestion(location: tuple[int | str, ...], root: type[BaseModel]) -> str:
    model: type[BaseModel] | None = root
    among_many = False  # the next part is a place in a list or a name of the user's own
    for part in location[:-1]:
        if among_many:
            among_many = False
            continue
        field = model.model_fields.get(str(part)) if model else None
        model = _model(field.annotation) if field else None
        among_many = field is not None and get_origin(field.annotation) in (list, tuple, dict)
    if model is None or among_many:
        return ""
    known = list(model.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean `{close[0]}`?" if close else f"; known here: {', '.join(known)}"


def _model(annotation: Any) -> type[BaseModel] | None:
    """The settings in an annotation such as `TlsSettings | None` or `tuple[Rule, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model, get_args(annotation))), None)
