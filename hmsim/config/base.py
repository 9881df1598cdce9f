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
    ValidationInfo,
    field_validator,
)

from hmsim import files, units
from hmsim.errors import InputError, did_you_mean

PRESETS = Path(__file__).parent / "presets"


class Strict(BaseModel):
    """A frozen model that refuses unknown keys; `load` turns every failure into an InputError.

    The string under a field is its description, for people who read the file, and for
    `hmsim schema` and docs/configuration.md, which are made from it.

    Truth values are no numbers, numbers are finite and fit 64 bits, text is text in UTF-8.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        _check_plain(value, _takes_truth(cls, info.field_name))
        return value


@cache
def _takes_truth(model: type[BaseModel], field: str) -> bool:
    """Whether the field can hold true and false."""
    return bool({bool, Any, BaseModel} & _kinds(model.model_fields[field].annotation))


def _kinds(annotation: Any) -> set[Any]:
    """The types that an annotation is made of; models, which look after themselves, as one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {BaseModel}
    inside = get_args(annotation)
    return {kind for each in inside for kind in _kinds(each)} if inside else {annotation}


def _check_plain(value: Any, truth: bool) -> None:
    """ValueError for what no field can hold, in lists too."""
    if isinstance(value, bool) and not truth:
        raise ValueError(f"{str(value).lower()} is not a number")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("a whole number must fit 64 bits")
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("text must not hold a null character")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("must be text in UTF-8") from None
    if isinstance(value, list | tuple):
        for each in value:
            _check_plain(each, truth)


def _positive(value: float) -> float:
    if not value > 0:
        raise ValueError("must be above zero")
    return value


def _not_negative(value: float) -> float:
    if not value >= 0:
        raise ValueError("must not be negative")
    return value


CLOCKS = (1e-11, 1e-6)  # seconds: beyond any DRAM's clock


def _clock(value: float) -> float:
    if not CLOCKS[0] <= value <= CLOCKS[1]:
        low, high = map(units.show_seconds, CLOCKS)
        raise ValueError(f"a clock period of {low} to {high}, such as '0.625 ns'")
    return value


def _quantity(kind: str) -> BeforeValidator:
    return BeforeValidator(lambda value: units.parse(value, kind))


class _Written:
    """The JSON Schema of a quantity: a number in base units, or a string with its unit."""

    def __init__(self, kind: str, **limit: float):
        self._kind, self._limit = kind, limit

    def __get_pydantic_json_schema__(self, _core: Any, _handler: Any) -> dict[str, Any]:
        kinds = {"type": ["number", "string"], "pattern": units.pattern(self._kind)}
        return kinds | {"unit": self._kind} | self._limit


_COUNTED = Field(lt=2.0**62)  # of bytes that kernels count in int64
_ABOVE, _FROM = AfterValidator(_positive), AfterValidator(_not_negative)
Bytes = Annotated[
    float, _quantity("bytes"), _ABOVE, _COUNTED, _Written("bytes", exclusiveMinimum=0)
]
# A capacity may be unlimited.
Capacity = Annotated[
    float,
    Field(allow_inf_nan=True),
    _quantity("bytes"),
    _ABOVE,
    _Written("bytes", exclusiveMinimum=0),
]
BytesOrZero = Annotated[float, _quantity("bytes"), _FROM, _COUNTED, _Written("bytes", minimum=0)]
Bandwidth = Annotated[float, _quantity("bytes/s"), _ABOVE, _Written("bytes/s", exclusiveMinimum=0)]
BandwidthOrZero = Annotated[float, _quantity("bytes/s"), _FROM, _Written("bytes/s", minimum=0)]
Seconds = Annotated[float, _quantity("seconds"), _ABOVE, _Written("seconds", exclusiveMinimum=0)]
ClockPeriod = Annotated[
    float,
    _quantity("seconds"),
    AfterValidator(_clock),
    _Written("seconds", minimum=CLOCKS[0], maximum=CLOCKS[1]),
]
SecondsOrZero = Annotated[float, _quantity("seconds"), _FROM, _Written("seconds", minimum=0)]


class _WrittenRange(_Written):
    """The same, or the two ends of a range of such."""

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        one = super().__get_pydantic_json_schema__(core, handler)
        unit = one.pop("unit")
        two = {"type": "array", "items": one, "minItems": 2, "maxItems": 2}
        return {"anyOf": [one, two], "unit": unit}


def _ends(kind: str) -> BeforeValidator:
    def read(value: Any) -> tuple[float, float]:
        ends = value if isinstance(value, list | tuple) else [value, value]
        if len(ends) != 2:
            raise ValueError(f"{len(ends)} numbers; write one, or a range [low, high]")
        low, high = (_not_negative(units.parse(each, kind)) for each in ends)
        if low > high:
            raise ValueError("a range is [low, high], and low is above high")
        return low, high

    return BeforeValidator(read)


# Quantities from 0 up that may be doubtful: one number, or `[low, high]`. Both ends are kept, alike
# where nothing is in doubt; what is reckoned with is their middle.
Range = tuple[float, float]
Amperes = Annotated[Range, _ends("amperes"), _WrittenRange("amperes", minimum=0)]
Watts = Annotated[Range, _ends("watts"), _WrittenRange("watts", minimum=0)]
JoulesPerBit = Annotated[Range, _ends("joules/bit"), _WrittenRange("joules/bit", minimum=0)]
Volts = Annotated[float, _quantity("volts"), _ABOVE, _Written("volts", exclusiveMinimum=0)]


def counted(unit: str, least: int = 1, most: int | None = None) -> Any:
    """What `Annotated[int, ...]` takes to count in `unit` from `least` (to `most`)."""
    return Field(ge=least, le=most, json_schema_extra={"unit": unit})


MOST = 10**12  # of anything that a workload counts
Count = Annotated[int, Field(ge=1, le=MOST)]
Tokens = Annotated[int, counted("tokens", 1, MOST)]
TokensOrZero = Annotated[int, counted("tokens", 0, MOST)]
Layers = Annotated[int, counted("layers", 1, MOST)]
Share = Annotated[float, Field(ge=0, le=1)]

Model = TypeVar("Model", bound=BaseModel)


def load(model: type[Model], data: dict[str, Any], source: str) -> Model:
    """`data` checked by `model`. `source` (a file name, say) opens the line of any error."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        line = " ".join(_first_line(model, error).splitlines())
        raise InputError(f"{source}: {line}") from None
    except RecursionError:
        raise InputError(f"{source}: nested too deep") from None


def read_toml(path: str | Path) -> dict[str, Any]:
    """The TOML file at `path` as plain data; InputError when it is missing or malformed."""
    return parse_toml(files.read_text(path), path)


def parse_toml(text: str, source: str | Path) -> dict[str, Any]:
    """The TOML `text` as plain data; InputError, which `source` opens, when it is malformed."""
    try:
        return tomllib.loads(text)
    except ValueError as error:  # also of a number with thousands of digits
        raise InputError(f"{source}: not valid TOML: {files.first_line(error)}") from None
    except RecursionError:
        raise InputError(f"{source}: not valid TOML: nested too deep") from None


@cache
def preset_names(kind: str) -> list[str]:
    """Names of the presets of a kind: 'memory', 'system' or 'model'."""
    return sorted(path.stem for path in (PRESETS / kind).glob("*.toml"))


def preset(kind: str, name: str) -> dict[str, Any]:
    """The preset's plain data, not to be changed; InputError names the nearest known one."""
    if not isinstance(name, str):
        raise InputError(f"{kind}: {name!r:.60}: expected the name of a preset")
    if name not in preset_names(kind):
        raise InputError(f"{kind} {name!r} is no preset{did_you_mean(name, preset_names(kind))}")
    return _shipped(kind, name)


@cache
def _shipped(kind: str, name: str) -> dict[str, Any]:
    return read_toml(PRESETS / kind / f"{name}.toml")


def _first_line(model: type[BaseModel], error: ValidationError) -> str:
    """The first problem as `key: what is wrong, what is allowed`.

    A key that nothing knows comes first: another that is missing may be the same one, misspelt.
    """
    problems = error.errors(include_url=False)
    problem = min(problems, key=lambda each: each["type"] != "extra_forbidden")
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key{did_you_mean(path[-1], _fields_at(model, path[:-1]))}"
    if problem["type"] == "missing":
        return f"{key}: missing"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    shown = "" if isinstance(given, (dict, BaseModel)) else f" {_short(given)}:"
    if shown and _short(given).strip("'") in message:
        shown = ""
    return f"{key}:{shown} {message[0].lower() + message[1:]}" if key else message


def _short(given: Any) -> str:
    """A value for an error; numbers with thousands of digits have no text."""
    try:
        text = repr(given)
    except (ValueError, RecursionError):
        return "a value that is too long"
    return text if len(text) <= 80 else f"{text[:77]}..."


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
