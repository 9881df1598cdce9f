"""Traces of real models: which blocks sparse attention reads while a model decodes a text.

| file | is |
|---|---|
| `session` | `hmsim workload capture`: a model over a text, by several rules at once, resumable |
| `rules` | which blocks a rule reads, from the attention of a layer |
| `gguf_file` | a GGUF file as a model |
| `llama` | its forward pass |
| `tokenizer` | text to tokens |
| `huggingface` | the same of a Hugging Face model, from Python |
"""
