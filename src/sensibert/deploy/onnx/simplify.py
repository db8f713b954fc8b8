"""Take out of an ONNX graph what is left of modules that keep nothing."""

from __future__ import annotations

import numpy as np
import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass


def remove_empty_products(model: onnx_ir.Model) -> None:
    """Replace every matrix product whose weight has no rows by the zeros that it gives, in place.

    The bias that is added to it stays. All that only led to the product goes: projections, activation, attention.
    """
    graph = model.graph
    for node in [node for node in graph if node.op_type == "MatMul" and _rows(node.inputs[1]) == 0]:
        (product,) = node.outputs
        weight = node.inputs[1]
        assert weight is not None
        assert weight.shape is not None
        values = onnx_ir.tensor(np.zeros((1, 1, int(weight.shape[1])), np.float32), name=f"{product.name}_zeros")
        zeros = onnx_ir.Value(name=values.name, const_value=values, shape=values.shape, type=product.type)
        graph.register_initializer(zeros)
        for consumer, place in list(product.uses()):
            consumer.replace_input_with(place, zeros)
            for output in consumer.outputs:
                output.shape = None  # it had rows and tokens, and is now the same for all of them
    RemoveUnusedNodesPass()(model)


def _rows(value: onnx_ir.Value | None) -> int | None:
    """The rows of a weight; None if it is no weight."""
    known = value is not None and value.const_value is not None
    return int(value.shape[0]) if known and value.shape is not None else None
