"""Tiny ONNX files with fixed numbers, made with the package onnx."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WORDS, WIDTH = 23, 8
"""Number of embeddings of the text network, which `poison` in `tiny_folders` exceeds by one, and their length."""
OPSET = 17


def write_onnx(path, nodes, inputs, outputs, weights=(), *, opset=OPSET, domains=(), **saving):
    """`inputs` and `outputs`: name -> (type, shape); `weights`: name -> array."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, *given) for name, given in inputs.items()],
        [helper.make_tensor_value_info(name, *given) for name, given in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in dict(weights).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.save_model(model, str(path), **saving)
    return path


def write_linear(path, *, name="x", rows="batch", dtype=TensorProto.FLOAT, out="logits", **saving):
    """`x @ weight + bias` for two numbers per row and three classes, computed in float64 if `x` is that, else float32."""
    drawn = np.random.default_rng(3)
    computed = TensorProto.DOUBLE if dtype == TensorProto.DOUBLE else TensorProto.FLOAT
    kind = helper.tensor_dtype_to_np_dtype(computed)
    weights = {"weight": drawn.normal(size=(2, 3)).astype(kind), "bias": drawn.normal(size=3).astype(kind)}
    nodes = [
        helper.make_node("Cast", [name], ["floats"], to=computed),
        helper.make_node("Gemm", ["floats", "weight", "bias"], [out]),
    ]
    return write_onnx(path, nodes, {name: (dtype, [rows, 2])}, {out: (computed, [rows, 3])}, weights, **saving)


def write_texts(path, order=("input_ids", "attention_mask", "token_type_ids"), ids=TensorProto.INT64, **saving):
    """The mean over the mask of embeddings of tokens and of their types: `logits` (3), and `embedding`. An id beyond the
    embeddings raises."""
    drawn = np.random.default_rng(5)
    weights = {
        "table": drawn.normal(size=(WORDS, WIDTH)).astype(np.float32),
        "types": drawn.normal(size=(2, WIDTH)).astype(np.float32),
        "head": drawn.normal(size=(WIDTH, 3)).astype(np.float32),
        "last": np.array([-1]),
        "tokens": np.array([1]),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["of_ids"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
    ]
    tokens = "of_ids"
    if "token_type_ids" in order:
        nodes += [
            helper.make_node("Gather", ["types", "token_type_ids"], ["of_types"]),
            helper.make_node("Add", ["of_ids", "of_types"], ["tokens3"]),
        ]
        tokens = "tokens3"
    nodes += [
        helper.make_node("Mul", [tokens, "mask3"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "tokens"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "tokens"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "head"], ["logits"]),
    ]
    return write_onnx(
        path,
        nodes,
        {name: (ids, ["batch", "tokens"]) for name in order},
        {"logits": (TensorProto.FLOAT, ["batch", 3]), "embedding": (TensorProto.FLOAT, ["batch", WIDTH])},
        weights,
        **saving,
    )


def write_pixels(path, **saving):
    """A convolution over images, and its mean: three classes."""
    drawn = np.random.default_rng(7)
    weights = {"kernel": drawn.normal(size=(3, 3, 3, 3)).astype(np.float32)}
    nodes = [
        helper.make_node("Conv", ["pixel_values", "kernel"], ["found"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["found"], ["positive"]),
        helper.make_node("ReduceMean", ["positive"], ["logits"], axes=[2, 3], keepdims=0),
    ]
    return write_onnx(
        path,
        nodes,
        {"pixel_values": (TensorProto.FLOAT, ["batch", 3, 8, 8])},
        {"logits": (TensorProto.FLOAT, ["batch", 3])},
        weights,
        **saving,
    )
