"""The operators that question answering graphs are made of: no other one reaches an engine.

They are those of this project's exports, of torch's two exporters, of optimum, and of ONNX Runtime's optimizers
and quantizers, for encoders of the BERT family. Left out on purpose: loops, sequences, text, images, random
numbers, and whatever else an encoder does not need.
"""

from __future__ import annotations


def _set(*texts: str) -> frozenset[str]:
    return frozenset(name for text in texts for name in text.split())


_MATHS = """
    Abs Add And Cast CastLike Ceil Clip Cos Div Equal Erf Exp Floor Greater GreaterOrEqual Identity IsInf IsNaN
    Less LessOrEqual Log Max Mean Min Mod Mul Neg Not Or Pow Reciprocal Round Sigmoid Sign Sin Softplus Sqrt Sub
    Sum Tanh Where Xor
"""
_ACTIVATIONS = "Elu Gelu HardSigmoid HardSwish LeakyRelu LogSoftmax Mish Relu Selu Softmax Swish"
_MATRICES = "Attention Einsum Gemm LayerNormalization MatMul RMSNormalization RotaryEmbedding"
_REDUCTIONS = """
    ArgMax ArgMin CumSum ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare TopK
"""
_SHAPES = """
    Compress Concat Constant ConstantOfShape Expand Flatten Gather GatherElements GatherND If NonZero OneHot Pad
    Range Reshape ScatterElements ScatterND Shape Size Slice Split Squeeze Tile Transpose Trilu Unsqueeze
"""
_CONVOLUTIONS = "AveragePool BatchNormalization Conv GlobalAveragePool InstanceNormalization MaxPool"  # ConvBERT
_INTEGERS = "DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearMatMul QuantizeLinear"
# In ONNX Runtime's files under the standard domain.
_SIMPLIFIED = "Dropout FusedMatMul SimplifiedLayerNormalization"

# ONNX Runtime's own operators.
_FUSED = """
    Attention BiasDropout BiasGelu BiasSoftmax DequantizeLinear DynamicQuantizeMatMul EmbedLayerNormalization
    FastGelu FusedGemm FusedMatMul GatedRelativePositionBias GatherBlockQuantized Gelu GroupQueryAttention
    MatMulBnb4 MatMulInteger16 MatMulIntegerToFloat MatMulNBits MultiHeadAttention PackedAttention
    PackedMultiHeadAttention QAttention QEmbedLayerNormalization QGemm QLinearAdd QLinearConcat QLinearLeakyRelu
    QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere QOrderedMatMul QuantizeLinear
    QuickGelu RelativePositionBias RemovePadding RestorePadding RotaryEmbedding SkipLayerNormalization
    SkipSimplifiedLayerNormalization TransposeMatMul
"""

STANDARD, FUSED = "", "com.microsoft"
OPERATORS = {
    STANDARD: _set(
        *(_MATHS, _ACTIVATIONS, _MATRICES, _REDUCTIONS, _SHAPES, _CONVOLUTIONS, _INTEGERS, _SIMPLIFIED)
    ),
    FUSED: _set(_FUSED),
}

# For the bound on what an engine computes while it loads a graph (constants.py).
# As many elements as the first input has, or fewer.
NOT_MORE = _set(
    _ACTIVATIONS,
    _REDUCTIONS,
    """
    Abs Cast CastLike Ceil Clip Cos DequantizeLinear Dropout DynamicQuantizeLinear Erf Exp Flatten Floor Identity
    IsInf IsNaN LayerNormalization Log Neg Not QuantizeLinear Reciprocal Reshape RMSNormalization Round
    ScatterElements ScatterND Sigmoid Sign SimplifiedLayerNormalization Sin Size Slice Softplus Split Sqrt Squeeze
    Tanh Transpose Trilu Unsqueeze
    """,
)
# The same shape as the first input.
SAME_SHAPE = NOT_MORE - _set(_REDUCTIONS, "Flatten Reshape Size Slice Split Squeeze Transpose Unsqueeze")
# The shape that NumPy's broadcasting gives.
BROADCAST = _set(
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or Pow Sub Sum Where Xor"
)
# The same numbers as the first input, in the same order.
SAME_VALUES = _set("Cast Flatten Identity Reshape Squeeze Unsqueeze")
