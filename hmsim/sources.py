"""Which source files what a file says can depend on, and a hash of them: the stamp of machine code."""

import hashlib
import re
import sys
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent


def source_fingerprint(file: Path) -> bytes:
    """A hash of the source file and of every source of the package that it imports, in turn.

    An import anywhere in a file counts, also inside a function. Of a file outside the package
    (a user's policy) the modules of its own folder and of its own package count too.
    """
    found: set[Path] = set()
    waiting = [file.resolve()]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path)
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(_content(path) if path.is_relative_to(_PACKAGE) else path.read_bytes())
    return digest.digest()


@cache
def _content(path: Path) -> bytes:
    """Of a source file of the package, as this process has found it: many kernels are stamped with
    the same files."""
    return hashlib.sha256(path.read_bytes()).digest()


_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|import[ \t]+([^\n]*))", re.M
)


@cache
def _imported(path: Path) -> list[Path]:
    """The source files that a file's import statements name, as far as `source_fingerprint` goes."""
    named: list[tuple[Path, list[str]]] = []  # folder to look in, and the way from there
    roots = _roots(path)
    for module, members, plain in _IMPORT.findall(path.read_text(encoding="utf-8")):
        if plain:
            names = re.findall(r"[\w.]+", plain)
        else:
            names = [module, *(f"{module}.{each}" for each in re.findall(r"\w+", members))]
        for name in names:
            bare = name.lstrip(".")
            parts = [part for part in bare.split(".") if part]
            if module.startswith("."):
                named.append((path.parents[len(module) - len(module.lstrip(".")) - 1], parts))
            else:
                named += [(root, parts) for root, first in roots if first in (None, parts[0])]
    files = []
    for root, parts in named:
        place = root.joinpath(*parts)
        files += [
            each
            for each in (place.parent / f"{place.name}.py", place / "__init__.py")
            if each.is_file()
        ]
    return files


def _roots(path: Path) -> list[tuple[Path, str | None]]:
    """Where modules that a file imports may stand: a folder, and the one top-level name that counts
    there (None: any, as in a user's own folder)."""
    package = (_PACKAGE.parent, _PACKAGE.name)
    if path.is_relative_to(_PACKAGE):
        return [package]
    searched = {Path(folder).resolve() for folder in sys.path}
    above = [folder for folder in path.parents if folder in searched]
    return [
        package,
        (path.parent, None),
        *((folder, path.relative_to(folder).parts[0]) for folder in above),
    ]
