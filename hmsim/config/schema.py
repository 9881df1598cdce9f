"""JSON Schema of the TOML files that people write: for editors, and for docs/configuration.md.

A field's description is the string under it in the source, read here and nowhere else, so that a
run does not pay for it.
"""

import ast
import inspect
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from hmsim.config.base import preset_names
from hmsim.config.calibration import CalibrationSpec
from hmsim.config.memory import MemorySpec
from hmsim.config.model import LlmModel
from hmsim.config.run import RunSpec
from hmsim.config.sweep import SweepSpec
from hmsim.config.system import SystemSpec

DIALECT = GenerateJsonSchema.schema_dialect
FILES: dict[str, type[BaseModel]] = {
    "run": RunSpec,
    "sweep": SweepSpec,
    "system": SystemSpec,
    "memory": MemorySpec,
    "model": LlmModel,
    "workload": RunSpec,  # of which such a file has the table [workload] at least
    "targets": CalibrationSpec,  # of `hmsim workload calibrate`
}
# Fields that take a preset's name, and of which kind.
_NAMED = {("MemorySide", "memory"): "memory", ("WorkloadSpec", "model"): "model"}
_OVER = "Over"  # ends the name of a table whose missing keys a preset has


def json_schema(kind: str | None = None) -> dict[str, Any]:
    """The JSON Schema (2020-12) of one kind of file, a key of FILES; of all of them for None."""
    if kind is None:
        kinds = [_one(each) for each in FILES]
        tables = {name: table for each in kinds for name, table in each.pop("$defs").items()}
        return {"$schema": DIALECT, "anyOf": kinds, "$defs": tables}
    return {"$schema": DIALECT, "title": f"hmsim {kind} file"} | _one(kind)


class _Plain(GenerateJsonSchema):
    """Without titles, which would say what the keys say, and without null, which TOML lacks."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: Any) -> Any:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> Any:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def _one(kind: str) -> dict[str, Any]:
    model = FILES[kind]
    whole = model.model_json_schema(schema_generator=_Plain)
    tables: dict[str, Any] = whole.pop("$defs", {})
    tables[model.__name__] = whole
    for each in models_of(model):
        if each.__name__ in tables:
            _describe(each, tables[each.__name__])
    for (owner, key), names in _NAMED.items():
        if owner in tables:
            _suggest(tables[owner]["properties"][key], preset_names(names))
    if "SystemSpec" in tables:
        _overlay(tables)
    if kind == "system":  # the table itself, or a file that has it
        system = {"$ref": "#/$defs/System"}
        in_file = {"type": "object", "required": ["system"], "properties": {"system": system}}
        return {"anyOf": [system, in_file], "$defs": tables}
    if kind == "workload":
        tables["RunSpec"]["required"] = ["workload"]
    return {"$ref": f"#/$defs/{model.__name__}", "$defs": tables}


def _overlay(tables: dict[str, Any]) -> None:
    """A system may be a preset's name, or a table over those of a preset, or a whole table."""
    names = preset_names("system")
    for name in ("SystemSpec", "MemorySide", "LinkSpec"):
        over = {key: value for key, value in tables[name].items() if key != "required"}
        over["properties"] = {
            key: _renamed(value, _OVER) for key, value in tables[name]["properties"].items()
        }
        tables[name + _OVER] = over
    tables["SystemSpec" + _OVER]["required"] = ["preset"]
    tables["SystemSpec" + _OVER]["properties"] |= {
        "preset": {
            "type": "string",
            "enum": names,
            "description": "The system preset whose keys count where the table has none.",
        }
    }
    whole = {"anyOf": [{"$ref": "#/$defs/SystemSpecOver"}, {"$ref": "#/$defs/SystemSpec"}]}
    tables["System"] = {"anyOf": [{"type": "string", "enum": names}, *whole["anyOf"]]}
    if "RunSpec" in tables:
        system = tables["RunSpec"]["properties"]["system"]
        system["$ref"] = "#/$defs/System"


def _renamed(value: dict[str, Any], suffix: str) -> dict[str, Any]:
    """A reference to a side of a system as one to the same side over a preset's."""
    if value.get("$ref") in ("#/$defs/MemorySide", "#/$defs/LinkSpec"):
        return value | {"$ref": value["$ref"] + suffix}
    return value


def _suggest(value: dict[str, Any], names: list[str]) -> None:
    text = next(each for each in value["anyOf"] if each.get("type") == "string")
    text["examples"] = names


def models_of(model: type[BaseModel]) -> list[type[BaseModel]]:
    """`model`, and all models that its fields lead to."""
    found = [model]
    for each in found:
        waiting = [field.annotation for field in each.model_fields.values()]
        while waiting:
            kind = waiting.pop()
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                if kind not in found:
                    found.append(kind)
            else:
                waiting += get_args(kind)
    return found


def _describe(model: type[BaseModel], table: dict[str, Any]) -> None:
    """Into a model's table: what the class says of itself, and of each field."""
    table["description"] = inspect.cleandoc(model.__doc__ or "")
    said = descriptions(model)
    for name, field in model.model_fields.items():
        if name in said:
            table["properties"][field.alias or name]["description"] = said[name]


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The string under each field of a model, in its class or in one that it inherits from."""
    said: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if owner is BaseModel or not issubclass(owner, BaseModel):
            continue
        (body,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(owner))).body
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                said[field.target.id] = inspect.cleandoc(text.value.value)
    return said
