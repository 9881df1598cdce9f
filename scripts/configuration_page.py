"""Write docs/configuration.md from the schema of the configuration: every key of every file.

    python scripts/configuration_page.py

A test fails when the page and the schema disagree; this makes them agree again.
"""

import json
from pathlib import Path
from typing import Any

from hmsim.config.schema import json_schema

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"

HEAD = """# Configuration: every key

<!-- Made by `python scripts/configuration_page.py` from the models in hmsim/config. -->

All files are TOML. An unknown key is an error that names the nearest known one, and so is a value
that is out of range. The keys of a table are written below its header, or with dots:
`hbm.capacity = "24 GB"` under `[system]` is `capacity = "24 GB"` under `[system.hbm]`. On the
command line, `--set system.hbm.capacity=24GB` does the same.

A **quantity** is a bare number in the unit of the table, or text with a unit of its own: `"24 GB"`,
`"23 GiB"`, `"450 GB/s"`, `"18.75 ns"`. GB means 10^9 bytes, GiB 2^30. Where the column "unit" is
empty, a number is a share, a ratio, or a count of what the column "meaning" names.

An editor that knows TOML and JSON Schema completes and checks these files: write
`hmsim schema run > run.schema.json`, and for [Taplo](https://taplo.tamasfe.dev) and the editors that
use it, the first line `#:schema run.schema.json`.

Unusual words are explained in the [glossary](glossary.md).
"""

# Chapters: heading, kind of file, text, and the tables in order: header (None: the top), schema.
RUN_TABLES = [
    (None, "RunSpec"),
    ("system", "SystemSpec"),
    ("system.hbm] and [system.dram", "MemorySide"),
    ("system.link", "LinkSpec"),
    ("workload", "WorkloadSpec"),
    ("workload.requests", "RequestsSpec"),
    ("workload.requests.synthetic", "SyntheticRequests"),
    ("workload.scores", "ScoresSpec"),
    ("workload.streaming", "StreamingSpec"),
    ("workload.matrix", "MatrixSpec"),
    ("policies", "PoliciesSpec"),
    ("latency", "LatencySpec"),
    ("replay", "ReplaySpec"),
    ("bound", "BoundSpec"),
    ("energy", "JoulesSpec"),
    ("output", "OutputSpec"),
]
CHAPTERS = [
    (
        "A run",
        "run",
        "The file of `hmsim run`. `hmsim workload` and `hmsim bound` read the same files, and need "
        'the tables that they use only. `system = "gh200-96gb"` is short for a table `[system]` '
        'with `preset = "gh200-96gb"`; keys of the table count over those of its preset.',
        RUN_TABLES,
    ),
    (
        "A sweep",
        "sweep",
        "The file of `hmsim sweep`; [Sweeps](sweeps.md) has examples.",
        [
            (None, "SweepSpec"),
            ("axes.NAME", "AxisSpec"),
            ("axes.NAME.range] and [axes.NAME.log", "Between"),
            ("axes.NAME.sobol] and [axes.NAME.latin_hypercube", "Design"),
            ('axes.NAME.sobol.over."KEY"', "Sides"),
        ],
    ),
    (
        "A memory",
        "memory",
        "A memory preset, or `[system.hbm.memory]`. `hmsim presets hbm3-6400` prints one to start "
        "from.",
        [
            (None, "MemorySpec"),
            ("organization", "Organization"),
            ("timing", "Timing"),
            ("refresh", "Refresh"),
            ("energy", "EnergySpec"),
        ],
    ),
    (
        "A model",
        "model",
        "A model preset, or `[workload.model]`. `hmsim presets --from-hf config.json` makes one.",
        [(None, "LlmModel"), ("kinds.NAME", "LayerKeys"), ("experts", "Experts")],
    ),
    (
        "Targets of a calibration",
        "targets",
        "The file of `hmsim workload calibrate`.",
        [(None, "CalibrationSpec"), ("fit", "FitSpec")],
    ),
]


def page() -> str:
    """The page's text."""
    lines = [HEAD]
    for heading, kind, text, tables in CHAPTERS:
        defined = json_schema(kind)["$defs"]
        lines += [f"## {heading}", "", text, ""]
        for header, name in tables:
            table = defined[name]
            if header is not None:
                lines += [f"### `[{header}]`".replace("] and [", "]` and `["), ""]
                lines += [_paragraphs(table["description"]), ""]
            lines += ["| key | type | unit | default | meaning |", "|---|---|---|---|---|"]
            required = table.get("required", [])
            keys = table["properties"]
            if name == "SystemSpec":
                keys = {"preset": defined["SystemSpecOver"]["properties"]["preset"]} | keys
            for key, value in keys.items():
                lines.append(_row(key, value, key in required))
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _paragraphs(description: str) -> str:
    """A class's text in one line a paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in description.split("\n\n"))


def _row(key: str, value: dict[str, Any], required: bool) -> str:
    cells = [
        f"`{key}`",
        _type(value),
        _unit(value),
        "**required**" if required else _default(value),
        value.get("description", ""),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(value: dict[str, Any]) -> str:
    """The default as TOML; nothing where a key is left out, or is a table of such."""
    default = value.get("default")
    if default is None or isinstance(default, dict) or default == "":
        return ""
    plain = default if isinstance(default, (bool, str, list)) else float(f"{default:.6g}")
    if isinstance(plain, float) and plain.is_integer() and plain < 1e6:
        plain = int(plain)
    return f"`{json.dumps(plain)}`" if not isinstance(plain, float) else f"`{plain:g}`"


def _type(value: dict[str, Any]) -> str:
    if "anyOf" in value:
        kinds = list(dict.fromkeys(map(_type, value["anyOf"])))
        return "any value" if len(kinds) > 3 else " or ".join(kinds)
    if value.get("$ref") == "#/$defs/System":
        return "text or table"
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "$ref" in value or value.get("type") == "object":
        return "table"
    if "prefixItems" in value:
        return f"list of {len(value['prefixItems'])}: {_type(value['prefixItems'][0])}"
    if value.get("type") == "array":
        return f"list of {_type(value['items'])}" if value.get("items") else "list"
    if value.get("type") == ["number", "string"]:
        return "quantity" + _range(value)
    names = {"string": "text", "boolean": "`true`, `false`"}
    return names.get(value.get("type", ""), value.get("type", "any")) + _range(value)


def _range(value: dict[str, Any]) -> str:
    signs = (
        ("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"),
    )  # fmt: skip
    limits = [f"{sign} {_shown(value[name])}" for name, sign in signs if name in value]
    return f" {', '.join(limits)}" if limits else ""


def _shown(limit: float) -> str:
    powers = {2**63: "2^63", 2**48 - 1: "2^48 - 1", 2**24: "2^24", 10**12: "10^12"}
    return powers.get(int(limit), f"{limit:g}")


def _unit(value: dict[str, Any]) -> str:
    """The unit of a number, or of the numbers in a list."""
    if "unit" in value:
        return value["unit"]
    for each in (*value.get("prefixItems", []), *value.get("anyOf", [])):
        if unit := _unit(each):
            return unit
    return ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
