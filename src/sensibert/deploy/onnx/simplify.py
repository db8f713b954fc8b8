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
    for node in [node for node in graph if node.op_type == "MatMul"]:
        sizes = _sizes(node.inputs[1])
        if sizes is None or sizes[0] > 0:
            continue
        (product,) = node.outputs
        tensor = onnx_ir.tensor(np.zeros([1, 1, sizes[1]], np.float32), name=f"{product.name}_zeros")
        shape = onnx_ir.Shape([1, 1, sizes[1]])
        zeros = onnx_ir.Value(name=tensor.name, const_value=tensor, shape=shape, type=product.type)
        graph.register_initializer(zeros)
        for consumer, place in list(product.uses()):
            consumer.replace_input_with(place, zeros)
            for output in consumer.outputs:
                output.shape = None  # it had rows and tokens, and is now the same for all of them
    RemoveUnusedNodesPass()(model)


def _sizes(value: onnx_ir.Value | None) -> tuple[int, int] | None:
    """The inputs and outputs of a weight; None if it is no weight."""
    if value is None or value.const_value is None:
        return None
    inputs, outputs = value.const_value.numpy().shape
    return inputs, outputs
