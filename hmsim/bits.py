"""Single-word bit operations for kernels: the processor's own instructions, through LLVM."""

from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from hmsim.jit import inlined

if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def popcount(word):
        """Number of bits set in a uint64."""
        return int(word).bit_count()

    def lowest_bit(word):
        """Index of the lowest bit set in a uint64; 64 for zero."""
        word = int(word)
        return (word & -word).bit_length() - 1 if word else 64

else:

    @intrinsic
    def _ctpop(typingctx, word):
        def codegen(context, builder, signature, args):
            return builder.ctpop(args[0])

        return types.uint64(types.uint64), codegen

    @intrinsic
    def _cttz(typingctx, word):
        def codegen(context, builder, signature, args):
            return builder.cttz(args[0], cgutils.false_bit)

        return types.uint64(types.uint64), codegen

    @inlined
    def popcount(word):
        """Number of bits set in a uint64."""
        return types.int64(_ctpop(word))  # type: ignore[call-arg]

    @inlined
    def lowest_bit(word):
        """Index of the lowest bit set in a uint64; 64 for zero."""
        return types.int64(_cttz(word))  # type: ignore[call-arg]
