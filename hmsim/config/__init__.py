"""Validated configuration: TOML files, presets and units. The lowest room; imports no other."""
