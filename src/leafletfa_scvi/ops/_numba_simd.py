"""Loops over rows of K values as LLVM vector code, which numba does not generate by itself.

The rows of all matrices are padded to a multiple of :data:`LANES` floats. They are processed in
strips of up to four vectors, so that the row of the cell stays in registers during the loop over
its entries. Every array must be C contiguous; nothing is checked.
"""

from __future__ import annotations

from contextlib import contextmanager

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
_STRIP = 4

_FLOAT = ir.FloatType()
_INT64 = ir.IntType(64)
_INT32 = ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_ZERO = ir.Constant(_VECTOR, [0.0] * LANES)


def _int(value: int) -> ir.Constant:
    return ir.Constant(_INT64, value)


class _Emitter:
    """Emitter of the instructions of one loop, for the arguments of a call."""

    def __init__(self, context, builder, signature, args):
        self.context, self.builder = context, builder
        self.signature, self.args = signature, args

    def array(self, position):
        """Return a pointer to the data of an array argument."""
        make = self.context.make_array(self.signature.args[position])
        return make(self.context, self.builder, self.args[position]).data

    def strips(self, width, emit_strip):
        """Call ``emit_strip(first, n)`` for the strips of a row: n vectors from ``first`` on."""
        builder = self.builder
        remainder = builder.urem(width, _int(_STRIP * LANES))
        whole = builder.sub(width, remainder)
        with cgutils.for_range_slice(builder, _int(0), whole, _int(_STRIP * LANES)) as (first, _):
            emit_strip(first, _STRIP)
        for n in range(1, _STRIP):
            with builder.if_then(builder.icmp_unsigned("==", remainder, _int(n * LANES))):
                emit_strip(whole, n)

    @contextmanager
    def entries(self, start, stop):
        """Emit a loop over entries; yield its index."""
        with cgutils.for_range_slice(self.builder, start, stop, _int(1)) as (entry, _):
            yield entry

    def at(self, pointer, *offsets):
        index = offsets[0]
        for offset in offsets[1:]:
            index = self.builder.add(index, offset)
        return self.builder.gep(pointer, [index])

    def vectors(self, pointer, n):
        """Return pointers to ``n`` consecutive vectors."""
        first = self.builder.bitcast(pointer, _VECTOR.as_pointer())
        return [self.builder.gep(first, [_int(i)]) for i in range(n)]

    def load(self, vectors):
        return [self.builder.load(v, align=4) for v in vectors]

    def store(self, values, vectors):
        for value, vector in zip(values, vectors, strict=True):
            self.builder.store(value, vector, align=4)

    def variables(self, n):
        out = [cgutils.alloca_once(self.builder, _VECTOR) for _ in range(n)]
        self.store([_ZERO] * n, out)
        return out

    def row(self, columns, entry, width):
        """Return the first element of the row of an entry's column."""
        column = self.builder.zext(self.builder.load(self.at(columns, entry)), _INT64)
        return self.builder.mul(column, width)

    def splat(self, scalar):
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(_INT32, 0))
        mask = ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES)
        return self.builder.shuffle_vector(first, undefined, mask)

    def _call(self, name, result, *args, **options):
        kind = ir.FunctionType(result, [a.type for a in args])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, args, **options)

    def fma(self, a, b, c):
        return self._call(f"llvm.fmuladd.v{LANES}f32", _VECTOR, a, b, c)

    def total(self, vector):
        name, zero = f"llvm.vector.reduce.fadd.v{LANES}f32", ir.Constant(_FLOAT, 0.0)
        return self._call(name, _FLOAT, zero, vector, fastmath=("reassoc",))


@intrinsic
def gather_dot(typingctx, x, row, matrix, columns, start, stop, width, out):
    """Add ``x[row] . matrix[columns[e]]`` to ``out[e]``, for ``start <= e < stop``."""
    integer = types.int64
    signature = types.void(x, integer, matrix, columns, integer, integer, integer, out)

    def codegen(context, builder, signature, args):
        emit = _Emitter(context, builder, signature, args)
        x, matrix, columns, out = (emit.array(i) for i in (0, 2, 3, 7))
        _, row, _, _, start, stop, width, _ = args

        def strip(first, n):
            cell_row = emit.load(emit.vectors(emit.at(x, builder.mul(row, width), first), n))
            with emit.entries(start, stop) as entry:
                column_row = emit.at(matrix, emit.row(columns, entry, width), first)
                product = _ZERO
                for a, b in zip(cell_row, emit.load(emit.vectors(column_row, n)), strict=True):
                    product = emit.fma(a, b, product)
                target = emit.at(out, entry)
                builder.store(builder.fadd(builder.load(target), emit.total(product)), target)

        emit.strips(width, strip)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def scatter_add_rows(
    typingctx, weight, x, row, matrix, columns, start, stop, width, row_out, matrix_out, first_row
):
    """Add weighted rows of columns to the cell, and of the cell to columns, for each entry.

    ``row_out[row] += weight[e] matrix[columns[e]]`` and
    ``matrix_out[first_row + columns[e]] += weight[e] x[row]``, for ``start <= e < stop``.
    ``matrix_out`` is treated as a matrix with rows of ``width``, whatever its leading dimensions.
    """
    integer = types.int64
    signature = types.void(
        weight, x, integer, matrix, columns, integer, integer, integer,
        row_out, matrix_out, integer,
    )  # fmt: skip

    def codegen(context, builder, signature, args):
        emit = _Emitter(context, builder, signature, args)
        weight, x, matrix, columns, row_out, matrix_out = (
            emit.array(i) for i in (0, 1, 3, 4, 8, 9)
        )
        _, _, row, _, _, start, stop, width, _, _, first_row = args
        base = builder.mul(row, width)
        matrix_out = emit.at(matrix_out, builder.mul(first_row, width))

        def strip(first, n):
            cell_row = emit.load(emit.vectors(emit.at(x, base, first), n))
            sums = emit.variables(n)
            with emit.entries(start, stop) as entry:
                w = emit.splat(builder.load(emit.at(weight, entry)))
                offset = emit.row(columns, entry, width)
                column_row = emit.load(emit.vectors(emit.at(matrix, offset, first), n))
                old = emit.load(sums)
                emit.store([emit.fma(w, b, c) for b, c in zip(column_row, old, strict=True)], sums)
                target = emit.vectors(emit.at(matrix_out, offset, first), n)
                old = emit.load(target)
                emit.store([emit.fma(w, b, c) for b, c in zip(cell_row, old, strict=True)], target)
            target = emit.vectors(emit.at(row_out, base, first), n)
            pairs = zip(emit.load(target), emit.load(sums), strict=True)
            emit.store([builder.fadd(a, b) for a, b in pairs], target)

        emit.strips(width, strip)
        return context.get_dummy_value()

    return signature, codegen
