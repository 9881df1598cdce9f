"""The keys of a `config.json`, over its family's defaults; what was read of them is remembered."""

from collections.abc import Mapping
from typing import Any

from hmsim.errors import InputError

LARGEST = 2**40  # of any count in a config
MOST_LAYERS = 100_000


class Keys:
    """Typed access to a table. Whatever is asked for by name counts as understood."""

    def __init__(
        self, data: Mapping[str, Any], defaults: Mapping[str, Any], where: str, prefix: str = ""
    ) -> None:
        self.data, self.defaults, self.where, self.prefix = data, defaults, where, prefix
        self.known: set[str] = set()
        self.tables: dict[str, Keys] = {}

    def get(self, *names: str) -> Any:
        """The first of these keys that is given, else the first that has a default, else None.

        A key that is given as null has no value, whatever its default.
        """
        self.known.update(names)
        for table in (self.data, self.defaults):
            for name in names:
                value = table.get(name)
                if value is not None and (table is self.data or name not in self.data):
                    return value
        return None

    def given(self, name: str) -> Any:
        """A key of the file itself, no default."""
        self.known.add(name)
        return self.data.get(name)

    def count(self, *names: str, least: int = 1) -> int | None:
        """A whole number of at least `least`; None where there is none."""
        value = self.get(*names)
        return None if value is None else self._whole(self.name_of(*names), value, least)

    def need(self, *names: str) -> int:
        """As `count`; InputError where there is none."""
        value = self.count(*names)
        if value is None:
            raise InputError(f"{self.where}: {' or '.join(names)} is missing")
        return value

    def counts(self, layers: int, *names: str, least: int = 1) -> list[int] | None:
        """A whole number for every layer, of a key that holds one or a list of them."""
        value = self.get(*names)
        if value is None:
            return None
        name = self.name_of(*names)
        if not isinstance(value, list):
            return [self._whole(name, value, least)] * layers
        return [self._whole(name, each, least) for each in self._per_layer(name, value, layers)]

    def number(self, *names: str) -> float | None:
        """A positive number; None where there is none."""
        value = self.get(*names)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
            raise self.wrong(self.name_of(*names), value, "a positive number")
        return float(value)

    def flag(self, *names: str) -> bool | None:
        """True or false; None where there is neither."""
        value = self.get(*names)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(self.name_of(*names), value, "true or false")
        return value

    def text(self, *names: str) -> str | None:
        value = self.get(*names)
        if value is not None and not isinstance(value, str):
            raise self.wrong(self.name_of(*names), value, "text")
        return value

    def per_layer(self, layers: int, *names: str) -> list[Any] | None:
        """A list with an entry for every layer."""
        value = self.get(*names)
        if value is None:
            return None
        name = self.name_of(*names)
        if not isinstance(value, list):
            raise self.wrong(name, value, "a list with an entry a layer")
        return self._per_layer(name, value, layers)

    def numbers(self, *names: str) -> list[int] | None:
        """A list of layer numbers."""
        value = self.get(*names)
        if value is None:
            return None
        name = self.name_of(*names)
        if not isinstance(value, list):
            raise self.wrong(name, value, "a list of layer numbers")
        return [self._whole(name, each, 0) for each in value]

    def table(self, name: str) -> "Keys":
        """A table inside; an empty one where there is none."""
        if name not in self.tables:
            value = self.get(name)
            if value is not None and not isinstance(value, dict):
                raise self.wrong(self.prefix + name, value, "a table")
            self.tables[name] = Keys(value or {}, {}, self.where, f"{self.prefix}{name}.")
        return self.tables[name]

    def name_of(self, *names: str) -> str:
        """Which of these keys holds the value, as it is called in errors."""
        found = next((name for name in names if self.data.get(name) is not None), names[0])
        return self.prefix + found

    def not_understood(self) -> dict[str, Any]:
        """Keys that nothing asked for and that say something, with their values."""
        found = {
            self.prefix + name: value
            for name, value in self.data.items()
            if name not in self.known and value not in (None, False, 0, "", [], {})
        }
        for table in self.tables.values():
            found |= table.not_understood()
        return found

    def wrong(self, name: str, value: Any, expected: str) -> InputError:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return InputError(f"{self.where}: {name}: {shown}: expected {expected}")

    def _whole(self, name: str, value: Any, least: int) -> int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not least <= value < LARGEST:
            raise self.wrong(name, value, f"a whole number of {least} or more")
        return int(value)

    def _per_layer(self, name: str, value: list[Any], layers: int) -> list[Any]:
        if len(value) != layers:
            raise InputError(
                f"{self.where}: {name}: a list of {len(value)} for {layers} layers: "
                "expected an entry a layer"
            )
        return value
