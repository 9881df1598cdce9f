"""A sweep's flat table as CSV, and as Parquet where pyarrow is installed.

Columns are arrays of one length: numbers, NaN where one is missing, or objects that are text.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from hmsim import files
from hmsim.errors import InputError

PARQUET = "sweep.parquet"


def write_csv(path: Path, table: dict[str, np.ndarray]) -> None:
    """Whole or not at all; what is missing is an empty field, whole numbers are written as such."""
    with files.writing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*(map(_field, column) for column in table.values()), strict=True))


def need_pyarrow(asked: str) -> None:
    """InputError, one line, where Parquet cannot be written; `asked` says by whom it was asked."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise InputError(f"{asked}: needs pyarrow: pip install 'hmsim[parquet]'") from None


def write_parquet(path: Path, table: dict[str, np.ndarray], units: dict[str, str]) -> None:
    """Whole or not at all; what is missing is null, a column's unit stands in its metadata."""
    need_pyarrow(path.name)
    import pyarrow
    import pyarrow.parquet

    fields, arrays = [], []
    for name, column in table.items():
        if column.dtype == object:
            array = pyarrow.array([str(value) or None for value in column], pyarrow.string())
        else:
            array = pyarrow.array(column, from_pandas=True)  # NaN is null
        unit = "" if column.dtype == object else units.get(name, "")
        fields.append(pyarrow.field(name, array.type, metadata={"units": unit} if unit else None))
        arrays.append(array)
    with files.writing(path) as beside:
        pyarrow.parquet.write_table(pyarrow.table(arrays, schema=pyarrow.schema(fields)), beside)


def _field(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        if np.isnan(value):
            return ""
        return int(value) if float(value).is_integer() else float(value)
    return value
