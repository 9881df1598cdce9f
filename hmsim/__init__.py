"""hmsim: a memory-hierarchy microsimulator for sparse-attention LLM decoding."""

__version__ = "0.1.0"
