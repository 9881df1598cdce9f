"""What every configuration model shares: strictness, units, and errors of one clear line."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from hmsim import units
from hmsim.errors import InputError, did_you_mean

PRESETS = Path(__file__).parent / "presets"


class Strict(BaseModel):
    """A frozen model that refuses unknown keys; `load` turns every failure into an InputError.

    The string under a field is its description, for people who read the file, and for
    `hmsim schema` and docs/configuration.md, which are made from it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


def _positive(value: float) -> float:
    if not value > 0:
        raise ValueError("must be above zero")
    return value


def _not_negative(value: float) -> float:
    if not value >= 0:
        raise ValueError("must not be negative")
    return value


def _quantity(kind: str) -> BeforeValidator:
    return BeforeValidator(lambda value: units.parse(value, kind))


class _Written:
    """The JSON Schema of a quantity: a number in base units, or a string with its unit."""

    def __init__(self, kind: str, **limit: int):
        self._kind, self._limit = kind, limit

    def __get_pydantic_json_schema__(self, _core: Any, _handler: Any) -> dict[str, Any]:
        kinds = {"type": ["number", "string"], "pattern": units.pattern(self._kind)}
        return kinds | {"unit": self._kind} | self._limit


_ABOVE, _FROM = AfterValidator(_positive), AfterValidator(_not_negative)
Bytes = Annotated[float, _quantity("bytes"), _ABOVE, _Written("bytes", exclusiveMinimum=0)]
BytesOrZero = Annotated[float, _quantity("bytes"), _FROM, _Written("bytes", minimum=0)]
Bandwidth = Annotated[float, _quantity("bytes/s"), _ABOVE, _Written("bytes/s", exclusiveMinimum=0)]
Seconds = Annotated[float, _quantity("seconds"), _ABOVE, _Written("seconds", exclusiveMinimum=0)]
SecondsOrZero = Annotated[float, _quantity("seconds"), _FROM, _Written("seconds", minimum=0)]


def counted(unit: str, least: int = 1, most: int | None = None) -> Any:
    """What `Annotated[int, ...]` takes to count in `unit` from `least` (to `most`)."""
    return Field(ge=least, le=most, json_schema_extra={"unit": unit})


Count = Annotated[int, Field(ge=1)]
Tokens = Annotated[int, counted("tokens")]
TokensOrZero = Annotated[int, counted("tokens", 0)]
Layers = Annotated[int, counted("layers")]
Clocks = Annotated[int, counted("clock cycles")]
ClocksOrZero = Annotated[int, counted("clock cycles", 0)]
Share = Annotated[float, Field(ge=0, le=1)]

Model = TypeVar("Model", bound=BaseModel)


def load(model: type[Model], data: dict[str, Any], source: str) -> Model:
    """`data` checked by `model`. `source` (a file name, say) opens the line of any error."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{source}: {_first_line(model, error)}") from None


def read_toml(path: str | Path) -> dict[str, Any]:
    """The TOML file at `path` as plain data; InputError when it is missing or malformed."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None


@cache
def preset_names(kind: str) -> list[str]:
    """Names of the presets of a kind: 'memory', 'system' or 'model'."""
    return sorted(path.stem for path in (PRESETS / kind).glob("*.toml"))


def preset(kind: str, name: str) -> dict[str, Any]:
    """The preset's plain data, not to be changed; InputError names the nearest known one."""
    if name not in preset_names(kind):
        raise InputError(f"{kind} {name!r} is no preset{did_you_mean(name, preset_names(kind))}")
    return _shipped(kind, name)


@cache
def _shipped(kind: str, name: str) -> dict[str, Any]:
    return read_toml(PRESETS / kind / f"{name}.toml")


def _first_line(model: type[BaseModel], error: ValidationError) -> str:
    """The first problem as `key: what is wrong, what is allowed`."""
    problem = error.errors(include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key{did_you_mean(path[-1], _fields_at(model, path[:-1]))}"
    if problem["type"] == "missing":
        return f"{key}: missing"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    shown = "" if isinstance(given, (dict, BaseModel)) or str(given) in message else f" {given!r}:"
    return f"{key}:{shown} {message[0].lower() + message[1:]}" if key else message


def _fields_at(model: type[BaseModel], path: list[str]) -> list[str]:
    """Known keys of the (nested) model that `path` leads to; unions give all their keys."""
    models: list[type[BaseModel]] = [model]
    for part in path:
        inner: list[type[BaseModel]] = []
        for each in models:
            field = each.model_fields.get(part)
            if field is not None:
                inner += _models_in(field.annotation)
        models = inner or models  # a union's tag is part of `loc` but no field
    return sorted({name for each in models for name in each.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for arg in get_args(annotation) for found in _models_in(arg)]
