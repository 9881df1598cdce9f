"""Options of the oracles: how far they look, and whose blocks may make place."""

from hmsim.errors import InputError


def check_window(name: str, window: object) -> None:
    """InputError unless it is a number of tokens to look ahead."""
    if not (isinstance(window, int) and 1 <= window <= 4096):
        raise InputError(f"policy {name}: window: {window!r}: a whole number from 1 to 4096")


def check_scope(name: str, scope: object) -> None:
    """InputError unless it is `layer` or `all`."""
    if scope not in ("layer", "all"):
        raise InputError(f"policy {name}: scope: {scope!r}: layer or all")
