"""The choices that a configuration offers, and a default that both sides know, each declared once.

Light: `--help` reads them too.
"""

from typing import Literal, get_args

Variant = Literal["text", "code", "exclusive", "inclusive"]
Barrier = Literal["layer", "token"]
Prompt = Literal["oldest", "recent", "scored"]  # what of it fills HBM first
BoundMethod = Literal["lp", "milp", "dual", "anneal"]  # of `hmsim bound`
Data = Literal["random", "static"]  # what is read and written, as far as energy goes
RequestFormat = Literal[
    "mooncake", "bailian", "dynamo", "llmservingsim", "azure", "burstgpt", "vidur"
]

VARIANTS: tuple[Variant, ...] = get_args(Variant)
BARRIERS: tuple[Barrier, ...] = get_args(Barrier)
PROMPTS: tuple[Prompt, ...] = get_args(Prompt)
DATA: tuple[Data, ...] = get_args(Data)
METHODS: tuple[BoundMethod, ...] = get_args(BoundMethod)
GAP = 0.01  # at which `hmsim bound` is done, where neither the call nor the run says another
# What energy is taken by, and the cases of every energy: the middle of a range, and its ends.
CAUSES = ("activation", "read", "write", "io", "refresh", "background", "link")
CASES = ("nominal", "low", "high")
