"""The parser of plain address traces."""

import numpy as np

from hmsim.exchange.plain import BLANK, END, MOST_BYTES
from hmsim.jit import record_inlined, record_kernel


@record_inlined
def _number(text, kind, at):
    """The number at `at`, or -1, and where it ends."""
    value = np.int64(0)
    over = 0
    if text[at] == ord("0") and text[at + 1] | 32 == ord("x"):
        at += 2
        first = at
        digit = np.int64(kind[text[at]])
        while digit < 16:
            over |= int(value >> 58 > 0)
            value = value << 4 | digit
            at += 1
            digit = np.int64(kind[text[at]])
    else:
        first = at
        digit = np.int64(kind[text[at]])
        while digit < 10:
            over |= int(value > END // 10 - 1)
            value = value * 10 + digit
            at += 1
            digit = np.int64(kind[text[at]])
    return -1 if over or at == first else value, at


@record_kernel
def parse(text, kind, address, size, write):
    """Read lines into the arrays. Returns the number of accesses, of lines, and where in the text a
    line begins that says something else, or -1.

    text: uint8 [n], the last byte ends a line; kind: uint8 [256], what a byte is: a digit of
    0 to 15, BLANK, or neither.
    """
    at = 0
    count = 0
    line = 0
    while at < len(text):
        begin = at
        while kind[text[at]] == BLANK:
            at += 1
        here = text[at]
        if here != ord("\n") and here != ord("#"):
            load = here == ord("L") and text[at + 1] == ord("D")
            store = here == ord("S") and text[at + 1] == ord("T")
            if not (load or store) or kind[text[at + 2]] != BLANK:
                return count, line, begin
            at += 3
            while kind[text[at]] == BLANK:
                at += 1
            value, at = _number(text, kind, at)
            length = 0
            if text[at] == ord("+"):
                length, at = _number(text, kind, at + 1)
                if length < 1 or length > MOST_BYTES:
                    return count, line, begin
            while kind[text[at]] == BLANK:
                at += 1
            if (
                value < 0
                or value + length > END
                or (text[at] != ord("\n") and text[at] != ord("#"))
            ):
                return count, line, begin
            address[count] = value
            size[count] = length
            write[count] = store
            count += 1
        while text[at] != ord("\n"):  # a comment
            at += 1
        at += 1
        line += 1
    return count, line, -1
