#!/usr/bin/env python3
"""Writes the directories beside this file, and README.md and bounds.json.

    pip install onnx==1.23.2 onnxruntime==1.32.0 safetensors numpy
    python tests/data/variants/make_variants.py [name ...]

With names, only these directories are written anew. Running it again gives the same files.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True

from safetensors.numpy import save_file

import independent
import layout
import reference
from decoder import Spec, Table, build, build_reference
from weights import Dense, DynamicInt8, Fused, NBits, Qdq

HERE = Path(__file__).resolve().parent
FLOAT = Table("float")
GQA = "GroupQueryAttention"
WITH_IF = {"longrope": "if", "mask": "shape"}

VARIANTS = [
    # Families, with every layer reaching the logits
    Spec("llama-3-layers", "Llama's graph over three layers: packed QKV, tied int4 embedding", layers=3),
    Spec(
        "phi-3-layers",
        "Phi-4-mini's graph: partial rotation, LongRoPE by `If` after 64 positions; `short` crosses while generating",
        family="phi3",
        layers=3,
        head_size=32,
        heads=3,
        kv_heads=1,
        rotary=16,
        longrope="if",
        short=60,
        ablate=((GQA, "rotary_interleaved", 1),),
    ),
    Spec(
        "gemma-4-layers",
        "Gemma 2's graph: four norms, windows of 24 on even layers, attention and logit soft caps, embedding scale, tanh GELU",
        family="gemma2",
        layers=4,
        epsilon=1e-6,
        sandwich=True,
        windows={0: 24, 2: 24},
        softcap=4.0,
        scale=0.3,
        head_softcap=3.0,
        embedding_scale=8.0,
        mlp="gelu_tanh",
        norm="skip",
        ablate=((GQA, "softcap", 0.0), (GQA, "local_window_size", -1)),
    ),
    Spec("qwen-3-layers", "Qwen 2.5's graph: one packed Add of biases after QKV", family="qwen2", layers=3, qkv_bias=True, seed=4),
    Spec(
        "mistral-3-layers",
        "queries wider than the hidden size, one KV head, own int4 head and fp32 table",
        family="mistral",
        layers=3,
        heads=6,
        kv_heads=1,
        embedding=FLOAT,
        seed=5,
    ),
    # MatMulNBits
    Spec("q4-block16", "4 bits, block 16", weights={"*": NBits(block=16)}, seed=6),
    Spec(
        "q4-block64-zero-points",
        "4 bits, block 64, packed zero points",
        weights={"*": NBits(block=64, zero_points="packed")},
        seed=7,
    ),
    Spec(
        "q4-block128-zero-points",
        "4 bits, block 128, packed zero points of one block a row",
        weights={"*": NBits(block=128, zero_points="packed")},
        hidden=128,
        intermediate=128,
        seed=8,
    ),
    Spec(
        "q4-block256",
        "4 bits, block 256; blocks longer than K in o_proj and down_proj",
        weights={"*": NBits(block=256)},
        hidden=256,
        intermediate=128,
        layers=1,
        seed=9,
    ),
    Spec(
        "q4-block512",
        "4 bits, blocks of 512, which is K, and of 1024, which is more",
        weights={"*": NBits(block=512), "gate": NBits(block=1024), "o": NBits(block=64), "down": NBits(block=64)},
        hidden=512,
        intermediate=64,
        layers=1,
        seed=88,
    ),
    Spec("q4-g-idx", "g_idx that names each block's own group", weights={"*": NBits(g_idx=True)}, embedding=FLOAT, seed=89),
    Spec("q8-block32", "8 bits, block 32, accuracy_level 4", weights={"*": NBits(8)}, seed=10),
    Spec(
        "q8-block128-zero-points",
        "8 bits, block 128, zero points",
        weights={"*": NBits(8, 128, "packed")},
        hidden=128,
        layers=1,
        seed=11,
    ),
    Spec(
        "q4-ragged-zero-points",
        "K of 72 and 80 in blocks of 32: three blocks, rows of zero points padded to bytes, a short last block; 157 tokens; tied table with Slice",
        weights={"*": NBits(zero_points="packed")},
        hidden=72,
        intermediate=80,
        vocabulary=157,
        seed=12,
    ),
    Spec("q4-ragged", "K of 72 and 80 in blocks of 32 without zero points", hidden=72, intermediate=80, seed=13),
    Spec(
        "q8-ragged-zero-points",
        "8 bits, K of 72 and 80 in blocks of 32",
        weights={"*": NBits(8, zero_points="packed")},
        hidden=72,
        intermediate=80,
        seed=14,
    ),
    Spec(
        "float-zero-points",
        "fp32 zero points, fractional; uint8 table of its own",
        weights={"*": NBits(zero_points="float"), "lm_head": NBits(block=16, zero_points="float")},
        embedding=Table("uint8"),
        seed=15,
    ),
    Spec(
        "flat-scales",
        "scales and zero points of rank 1, three blocks a row",
        weights={"*": NBits(zero_points="packed", flat=True)},
        hidden=96,
        embedding=Table("uint8"),
        seed=16,
    ),
    Spec(
        "bias-input",
        "bias as MatMulNBits input 5, no zero points",
        weights={"*": NBits(bias=True)},
        embedding=Table("uint8"),
        seed=17,
    ),
    Spec(
        "bias-input-zero-points",
        "bias as MatMulNBits input 5, beside zero points, 8 bits",
        weights={"*": NBits(8, zero_points="packed", bias=True)},
        embedding=Table("uint8_8"),
        seed=18,
    ),
    Spec(
        "mixed-bits",
        "k_quant_mixed: separate q, k, v; v_proj and some down_proj 8 bits, head 8 bits and tied, all with zero points",
        weights={
            "*": NBits(zero_points="packed"),
            "v": NBits(8, zero_points="packed"),
            "0.down": NBits(8, zero_points="packed"),
            "lm_head": NBits(8, zero_points="packed"),
        },
        packed=False,
        layers=3,
        seed=19,
    ),
    Spec(
        "no-accuracy-level",
        "attribute accuracy_level absent, 8-bit head with a 4-bit body",
        weights={"*": NBits(accuracy_level=None), "lm_head": NBits(8, accuracy_level=None)},
        seed=20,
    ),
    # fp16
    Spec(
        "f16-llama",
        "fp16 inputs, outputs, scales, norms and KV",
        io="f16",
        layers=2,
        weights={"*": NBits(accuracy_level=None)},
        seed=21,
    ),
    Spec(
        "f16-float-zero-points",
        "fp16 zero points and bias; logits cast to fp32",
        io="f16",
        weights={"*": NBits(zero_points="float", bias=True, accuracy_level=None)},
        embedding=Table("uint8"),
        logits_cast=True,
        seed=22,
    ),
    Spec(
        "f16-gemma",
        "Gemma 2 in fp16: Cast nodes around the norms, residual stream in fp32",
        family="gemma2",
        io="f16",
        norm_casts="gemma",
        sandwich=True,
        epsilon=1e-6,
        softcap=4.0,
        windows={0: 24},
        head_softcap=3.0,
        embedding_scale=8.0,
        mlp="gelu_tanh",
        weights={"*": NBits(accuracy_level=None)},
        seed=23,
    ),
    Spec(
        "f16-qwen",
        "Qwen in fp16: four Casts around each norm, bias",
        family="qwen2",
        io="f16",
        norm_casts="all",
        qkv_bias=True,
        weights={"*": NBits(accuracy_level=None)},
        seed=24,
    ),
    Spec(
        "f16-dense",
        "unquantised fp16: MatMul [K, N], Gather on an fp16 table",
        io="f16",
        weights={"*": Dense()},
        embedding=FLOAT,
        layers=2,
        hidden=48,
        heads=2,
        kv_heads=1,
        intermediate=64,
        seed=25,
    ),
    Spec(
        "f16-directml",
        "DirectML in fp16: separate q, k, v, RotaryEmbedding nodes, position_ids, nine GQA inputs",
        io="f16",
        packed=False,
        rope="nodes",
        gqa_inputs=7,
        weights={"*": NBits(accuracy_level=None)},
        embedding=FLOAT,
        seed=26,
    ),
    Spec(
        "f16-longrope-if",
        "LongRoPE `If` with fp16 caches; `long` crosses 128 positions while generating",
        family="phi3",
        io="f16",
        longrope="if",
        switch=128,
        long=124,
        weights={"*": NBits(accuracy_level=None)},
        seed=27,
    ),
    Spec(
        "f16-kv-casts",
        "fp16 graph with fp32 KV inputs and outputs, Cast around the attention",
        io="f16",
        kv_casts=True,
        logits_cast=True,
        weights={"*": NBits(accuracy_level=None)},
        seed=78,
    ),
    Spec(
        "bf16",
        "bf16 scales, norms, caches, constants and KV, fp32 logits (CUDA's bf16 builds)",
        io="bf16",
        logits_cast=True,
        embedding_scale=8.0,
        weights={"*": NBits(zero_points="packed", accuracy_level=None)},
        seed=79,
    ),
    Spec(
        "bf16-dense",
        "unquantised bf16",
        io="bf16",
        weights={"*": Dense()},
        embedding=FLOAT,
        hidden=48,
        heads=2,
        kv_heads=1,
        intermediate=64,
        seed=80,
    ),
    # Attention
    Spec(
        "separate-qkv",
        "q, k, v in GQA inputs 0 to 2, biases by Add, no KV grouping",
        packed=False,
        kv_heads=4,
        qkv_bias=True,
        o_bias=True,
        seed=28,
    ),
    Spec("rotary-nodes", "RotaryEmbedding nodes with position_ids, GQA do_rotary 0", packed=False, rope="nodes", seed=29),
    Spec(
        "rotary-nodes-partial",
        "RotaryEmbedding with num_heads and rotary_embedding_dim: 16 of 32 elements, from a Split of packed QKV",
        rope="nodes",
        head_size=32,
        heads=2,
        kv_heads=1,
        rotary=16,
        seed=30,
    ),
    Spec(
        "rotary-interleaved",
        "rotary_interleaved in GQA, 32 of 48 elements of a head",
        interleaved=True,
        rotary=32,
        head_size=48,
        heads=2,
        kv_heads=1,
        seed=31,
        ablate=((GQA, "rotary_interleaved", 0),),
    ),
    Spec(
        "rotary-nodes-interleaved",
        "interleaved RotaryEmbedding nodes",
        packed=False,
        rope="nodes",
        interleaved=True,
        seed=32,
        ablate=(("RotaryEmbedding", "interleaved", 0),),
    ),
    Spec(
        "longrope-concat",
        "DirectML's LongRoPE, a window beyond the context: short and long rows in one cache, positions shifted by ReduceMax; `short` crosses 64 while generating",
        family="phi3",
        packed=False,
        rope="nodes",
        longrope="concat",
        short=60,
        layers=3,
        windows={0: 262144, 1: 262144, 2: 262144},
        seed=33,
    ),
    Spec(
        "longrope-concat-int32",
        "the same in int32 with partial rotation; `long` crosses 128 while generating",
        family="phi3",
        packed=False,
        rope="nodes",
        longrope="concat_int32",
        switch=128,
        long=124,
        head_size=32,
        heads=2,
        kv_heads=1,
        rotary=16,
        seed=34,
    ),
    Spec(
        "longrope-two-ifs",
        "cos and sin caches from two `If` nodes with one condition; `short` crosses 64 while generating",
        family="phi3",
        longrope="two_ifs",
        short=60,
        seed=81,
    ),
    Spec(
        "longrope-in-attention",
        "WebGPU's LongRoPE: short and long rows in one cache, rotation inside the attention, no position_ids; genai_config.json alone has the switch (webgpu, multiRotaryCacheConcatOffset); `short` crosses 64 while generating",
        family="phi3",
        longrope="concat_gqa",
        short=60,
        mask="reduce_max",
        provider_options=({"webgpu": {"enableGraphCapture": "1", "multiRotaryCacheConcatOffset": "64"}},),
        reference_as=WITH_IF,
        seed=82,
    ),
    Spec(
        "longrope-in-attention-unstated",
        "the same without the option, partial rotation: the second row without sines begins the long rows; `long` crosses 128",
        family="phi3",
        longrope="concat_gqa",
        switch=128,
        long=124,
        head_size=32,
        heads=2,
        kv_heads=1,
        rotary=16,
        reference_as=WITH_IF,
        seed=83,
    ),
    Spec(
        "lengths-from-cache",
        "lengths from Shape of a cache with start and end; RotaryEmbedding nodes whose positions are CumSum of the mask and Slice",
        packed=False,
        rope="nodes",
        mask="cache_shape",
        positions="cumsum",
        seed=90,
    ),
    Spec(
        "lengths-from-own-mask",
        "a mask of ConstantOfShape and Concat along the last axis; positions by Range, Unsqueeze and Expand",
        packed=False,
        rope="nodes",
        mask="concat",
        positions="range",
        seed=91,
    ),
    Spec(
        "windows",
        "local_window_size 20 and 33 on two layers of three",
        layers=3,
        windows={0: 20, 2: 33},
        seed=35,
        ablate=((GQA, "local_window_size", -1),),
    ),
    Spec(
        "sliding-window-cache",
        "sliding_window_cache 1 on the windowed layers",
        layers=3,
        windows={0: 24, 2: 24},
        sliding_window_cache=True,
        seed=36,
        ablate=((GQA, "local_window_size", -1),),
    ),
    Spec("head-sinks", "head sinks as GQA input 11, window 32 on one layer", sinks=True, windows={1: 32}, seed=37),
    Spec("smooth-softmax", "smooth_softmax 1", smooth_softmax=True, seed=38, ablate=((GQA, "smooth_softmax", 0),)),
    Spec(
        "no-rotation-layers",
        "layers 1 and 3 of four without rotation, the scale attribute absent",
        layers=4,
        rope_layers=(0, 2),
        seed=39,
    ),
    Spec("no-rotation", "no rotation anywhere, scale attribute 0", rope_layers=(), scale=0.0, seed=40),
    Spec("position-ids-input", "position_ids as GQA input 9", gqa_position_ids=True, seed=41),
    Spec(
        "qk-norm",
        "Qwen 3: norms per head by Reshape [0, -1, 16], separate q, k, v",
        family="qwen3",
        packed=False,
        qk_norm="3d",
        epsilon=0.1,
        seed=42,
    ),
    Spec(
        "qk-norm-split",
        "norms per head on a Split of packed QKV, rank 4 between the Reshapes",
        family="qwen3",
        qk_norm="4d",
        seed=43,
    ),
    Spec(
        "head-size-256",
        "heads of 256 elements, 64 of them rotated, window 24, soft cap",
        family="gemma2",
        layers=1,
        heads=2,
        kv_heads=1,
        rotary=64,
        head_size=256,
        scale=0.0625,
        softcap=5.0,
        windows={0: 24},
        seed=76,
    ),
    Spec(
        "two-rotations",
        "layers 0 and 2 rotate by another table than layer 1 (Gemma 3)",
        layers=3,
        second_cache_layers=(0, 2),
        windows={0: 24, 2: 24},
        seed=77,
    ),
    # Norms, MLP, head
    Spec(
        "skip-bias",
        "SkipSimplifiedLayerNormalization with bias; Mul(sigmoid, gate) and Mul(up, gate)",
        norm="skip_bias",
        mlp="silu_swapped",
        epsilon=0.1,
        seed=44,
    ),
    Spec(
        "layer-norm",
        "SkipLayerNormalization and LayerNormalization with biases, MLP without gate, biases everywhere, head bias",
        family="phi",
        norm="layer",
        mlp="fc_gelu",
        mlp_bias=True,
        o_bias=True,
        qkv_bias=True,
        head_bias=True,
        head_size=32,
        heads=2,
        kv_heads=2,
        rotary=16,
        embedding=FLOAT,
        constant_first=True,
        epsilon=0.1,
        seed=45,
    ),
    Spec(
        "parallel-layer-norm",
        "Phi-2: attention and MLP read one LayerNormalization; heads of 80 elements, 32 of them rotated",
        family="phi",
        norm="layer",
        parallel=True,
        mlp="fc_fast_gelu",
        mlp_bias=True,
        head_size=80,
        heads=2,
        kv_heads=2,
        rotary=32,
        epsilon=0.1,
        seed=46,
    ),
    Spec(
        "rms-normalization",
        "RMSNormalization of opset 23, epsilon 0.1, and Add for the residual",
        norm="rms",
        opset=23,
        ir=11,
        epsilon=0.1,
        seed=47,
    ),
    Spec("separate-adds", "SimplifiedLayerNormalization and Add in place of the Skip form", norm="separate", epsilon=0.1, seed=48),
    Spec(
        "decomposed-rms-norm",
        "RMS norms in single operators, in four spellings by turns: Pow or Mul, epsilon on either side, Div 1, Reciprocal, Div by the root",
        norm="decomposed",
        layers=3,
        epsilon=0.1,
        seed=84,
    ),
    Spec(
        "decomposed-qk-norm",
        "the same for norms per head, opset 17: axes as attribute",
        family="qwen3",
        norm="decomposed",
        packed=False,
        qk_norm="4d",
        opset=17,
        ir=8,
        epsilon=0.1,
        seed=85,
    ),
    Spec(
        "decomposed-layer-norm",
        "LayerNorm in single operators, with bias; MLP without gate",
        family="phi",
        norm="decomposed_layer",
        mlp="fc_gelu",
        mlp_bias=True,
        epsilon=0.1,
        seed=86,
    ),
    Spec(
        "f16-tensorrt-rtx",
        "TensorRT-RTX in fp16: INT4 DequantizeLinear, RMS norms in single operators between Casts, LongRoPE's rows in one cache and its option",
        family="phi3",
        io="f16",
        norm="decomposed",
        weights={"*": Qdq("int4")},
        embedding=FLOAT,
        longrope="concat_gqa",
        short=60,
        provider_options=({"NvTensorRtRtx": {"multi_rotary_cache_concat_offset": "64"}},),
        reference_as=WITH_IF,
        seed=87,
    ),
    Spec(
        "gelu-forms",
        "Gelu none, Gelu without attribute, Gelu tanh, FastGelu, FastGelu with bias",
        layers=5,
        intermediate=64,
        mlp=("gelu", "gelu_default", "gelu_tanh", "fast_gelu", "fast_gelu_bias"),
        seed=49,
    ),
    Spec(
        "microsoft-gelu",
        "Gelu and BiasGelu of com.microsoft",
        mlp=("microsoft_gelu", "bias_gelu"),
        seed=92,
    ),
    Spec(
        "decomposed-gelu",
        "GELU in single operators, with Erf and with Tanh, the half at each place",
        layers=5,
        intermediate=64,
        mlp=("erf_half_last", "erf_half_first", "erf_half_sum", "tanh_half_first", "tanh_half_last"),
        seed=93,
    ),
    Spec(
        "opset-24",
        "Swish with and without alpha, RotaryEmbedding of ONNX, RMSNormalization",
        mlp=("swish", "swish_alpha"),
        norm="rms",
        rope="standard_nodes",
        rotary=8,
        opset=24,
        ir=11,
        seed=94,
    ),
    Spec(
        "other-activations",
        "QuickGelu, QuickGelu alpha 1, Relu, Relu and Pow 2",
        layers=4,
        intermediate=64,
        mlp=("quick_gelu", "quick_gelu_alpha", "fc_relu", "relu2"),
        seed=50,
    ),
    Spec("fused-gate-up", "one gate_up_proj and Split with num_outputs", fused_gate_up=True, mlp_bias=True, seed=51),
    Spec(
        "granite",
        "Mul by constants of shape [1] from the left on embedding, residual and logits; attention scale 1",
        family="granite",
        embedding_scale=6.0,
        residual_scale=0.4,
        head_scale=0.25,
        scale=1.0,
        layers=3,
        factor_shape=(1,),
        constant_first=True,
        constants="initializers",
        seed=52,
    ),
    Spec("pruned-head", "Gather -1 and Unsqueeze before the head: logits [B, 1, V]", pruned=True, seed=53),
    Spec(
        "logits-to-keep",
        "an input num_logits_to_keep, whose negative begins a Slice before the head",
        logits_to_keep="num_logits_to_keep",
        seed=95,
    ),
    # Embeddings
    Spec("token-casts", "token ids in int32 and passed through Identity", token_casts=True, seed=96),
    Spec(
        "table-int4",
        "GatherBlockQuantized over an INT4 table, default zero point 0, three blocks a row",
        hidden=96,
        embedding=Table("typed_int4"),
        seed=54,
    ),
    Spec(
        "table-uint4-zero-points",
        "GatherBlockQuantized over a UINT4 table with zero points",
        hidden=96,
        embedding=Table("typed_uint4", zero_points=True),
        seed=55,
    ),
    Spec(
        "table-uint4",
        "GatherBlockQuantized over a UINT4 table, default zero point 0",
        embedding=Table("typed_uint4", block=16),
        seed=56,
    ),
    Spec(
        "table-uint8-ragged",
        "GatherBlockQuantized over packed uint8 with zero points, 72 padded to 96, Slice",
        hidden=72,
        embedding=Table("uint8", zero_points=True),
        seed=57,
    ),
    Spec(
        "table-8-bits", "GatherBlockQuantized with 8 bits and zero points, block 64", embedding=Table("uint8_8", 64, True), seed=58
    ),
    # QDQ and dense
    Spec(
        "qdq-int4",
        "DequantizeLinear INT4 [N, K], axis -1, Transpose, MatMul",
        weights={"*": Qdq("int4", negative_axis=True)},
        embedding=Table("uint8"),
        seed=59,
    ),
    Spec(
        "qdq-uint4-zero-points",
        "DequantizeLinear UINT4 [K, N], axis 0, zero points, MatMul",
        weights={"*": Qdq("uint4", axis=0, zero_points=True), "lm_head": Qdq("uint4", axis=1, block=16, zero_points=True)},
        embedding=Table("uint8"),
        seed=60,
    ),
    Spec(
        "qdq-8-bits",
        "DequantizeLinear int8 and uint8: blocks, one scale a row, one scale a tensor, both layouts",
        weights={
            "*": Qdq("int8", block=32),
            "qkv": Qdq("int8", axis=0, block=0),
            "o": Qdq("int8", axis=1, block=0),
            "gate": Qdq("uint8", axis=0, zero_points=True),
            "up": Qdq("uint8", axis=1, block=0, zero_points=True),
            "down": Qdq("int8", axis=0, block=None),
            "lm_head": Qdq("uint8", axis=1, block=None, zero_points=True),
        },
        embedding=Table("uint8"),
        seed=61,
    ),
    Spec(
        "f16-qdq",
        "TensorRT's form: INT4 DequantizeLinear with fp16 scales, Transpose",
        io="f16",
        weights={"*": Qdq("int4"), "down": Qdq("int4", axis=0)},
        embedding=Table("uint8"),
        seed=62,
    ),
    Spec(
        "qdq-microsoft",
        "DequantizeLinear of com.microsoft: one scale a row, one scale a tensor",
        weights={
            "*": Qdq("int8", block=0, domain="com.microsoft"),
            "gate": Qdq("uint8", axis=0, block=0, zero_points=True, domain="com.microsoft"),
            "down": Qdq("int8", axis=0, block=None, domain="com.microsoft"),
        },
        embedding=Table("uint8"),
        seed=97,
    ),
    Spec(
        "dynamic-int8",
        "ONNX Runtime's dynamic quantisation, transformers.js' onnx/model_quantized.onnx: DynamicQuantizeLinear, MatMulInteger, Cast, Mul by scales; Gather of uint8 codes",
        weights={"*": DynamicInt8(), "qkv": DynamicInt8("int8"), "up": DynamicInt8("uint8", True), "down": DynamicInt8("int8", True)},
        embedding=Table("codes"),
        layout="transformers.js, quantized",
        storage="inline",
        o_bias=True,
        reference_as={"integer_products": False},
        seed=98,
    ),
    Spec("fused-matmul", "FusedMatMul with transB", weights={"*": Fused()}, embedding=FLOAT, hidden=32, heads=2, kv_heads=1, seed=99),
    Spec(
        "dense",
        "unquantised fp32: MatMul [K, N]; Gather on a Transpose of the head",
        weights={"*": Dense()},
        embedding="tied_transposed",
        hidden=32,
        heads=2,
        kv_heads=1,
        intermediate=48,
        seed=63,
    ),
    Spec(
        "dense-head",
        "int4 body, tied fp32 head: Transpose of the table and MatMul",
        weights={"*": NBits(accuracy_level=None), "lm_head": Dense()},
        embedding="table_is_head",
        seed=64,
    ),
    # Files
    Spec(
        "old-builder",
        "opset 14 of 2024: nine GQA inputs, KV inputs by layer, fp32 table, Split sizes as input, fixed KV shape",
        opset=14,
        ir=7,
        gqa_inputs=9,
        kv_order="interleaved",
        embedding=FLOAT,
        symbolic_head=False,
        fused_gate_up=True,
        mlp="fast_gelu",
        weights={"*": NBits(accuracy_level=None)},
        seed=65,
    ),
    Spec(
        "typed-fields",
        "float_data, int32_data and int64_data, value_int attributes, everything in the .onnx",
        storage="inline",
        typed_fields=True,
        constants="fields",
        io="f32",
        layers=1,
        intermediate=64,
        anonymous=True,
        spelled_domain=True,
        seed=66,
    ),
    Spec(
        "f16-typed-fields",
        "fp16 in int32_data",
        storage="inline",
        typed_fields=True,
        constants="initializers",
        io="f16",
        layers=1,
        intermediate=64,
        weights={"*": NBits(accuracy_level=None)},
        seed=67,
    ),
    Spec(
        "inline",
        "raw weights in the .onnx; nodes in no order and without names, values called v0, v1, ...; domain spelled ai.onnx",
        storage="inline",
        shuffle_nodes=True,
        seed=68,
    ),
    Spec(
        "mixed-storage",
        "small tensors in the .onnx, others outside; constants as initializers; seqlens_k [B, 1]",
        storage="mixed",
        constants="initializers",
        mask="keepdims",
        seed=69,
    ),
    Spec(
        "odd-offsets",
        "external tensors at odd offsets; total length by ReduceMax",
        storage="odd",
        mask="reduce_max",
        embedding=FLOAT,
        seed=70,
    ),
    Spec(
        "f16-odd-offsets",
        "fp16 tensors at odd offsets",
        io="f16",
        storage="odd",
        weights={"*": NBits(zero_points="float", accuracy_level=None)},
        embedding=FLOAT,
        seed=71,
    ),
    Spec(
        "hidden-constants",
        "norm weights, biases, scales, zero points, caches, tables and sinks behind Cast, Reshape with 0 and -1, Squeeze and Unsqueeze",
        hidden_constants=True,
        half_values=True,
        sinks=True,
        qkv_bias=True,
        weights={"*": NBits(zero_points="packed", bias=True)},
        embedding=Table("uint8", zero_points=True),
        seed=100,
    ),
    Spec("two-files", "two external data files", storage="two_files", seed=72),
    Spec(
        "file-per-tensor",
        "a file per tensor in a directory below, neither offset nor length given",
        storage="file_per_tensor",
        layers=1,
        seed=74,
    ),
    Spec(
        "other-names",
        "inputs and outputs called otherwise, as genai_config.json says",
        names={
            "input_ids": "tokens",
            "attention_mask": "mask",
            "logits": "scores",
            "past_key_values.%d.key": "cache_in_%d_k",
            "past_key_values.%d.value": "cache_in_%d_v",
            "present.%d.key": "cache_out_%d_k",
            "present.%d.value": "cache_out_%d_v",
        },
        kv_order="interleaved",
        seed=75,
    ),
    Spec(
        "transformers-js",
        "transformers.js layout: config.json, onnx/model_q4.onnx and onnx/model_q4f16.onnx, which the same reference fits",
        layout="transformers.js",
        half_values=True,
        kv_order="interleaved",
        embedding=FLOAT,
        weights={"*": NBits(accuracy_level=None)},
        seed=73,
    ),
]


def write(spec):
    """Writes one directory and returns its errors for bounds.json."""
    directory = HERE / spec.name
    shutil.rmtree(directory, ignore_errors=True)
    model = build(spec)
    if spec.layout == "genai":
        directory.mkdir()
        path = directory / "model.onnx"
        layout.save(model, path, spec.storage, "model.onnx.data")
        layout.write_json(directory / "genai_config.json", layout.genai_config(spec, model))
    else:
        (directory / "onnx").mkdir(parents=True)
        if spec.layout == "transformers.js":
            path = directory / "onnx" / "model_q4.onnx"
            half = build(Spec(**{**vars(spec), "io": "f16", "half_values": False}))
            layout.save(half, directory / "onnx" / "model_q4f16.onnx", "two_files", "model_q4f16.onnx_data")
        else:
            path = directory / "onnx" / "model_quantized.onnx"
        layout.save(model, path, spec.storage, f"{path.name}_data")
        layout.write_json(directory / "config.json", layout.huggingface_config(spec))
        layout.write_json(
            directory / "generation_config.json",
            {"bos_token_id": layout.BEGIN, "eos_token_id": layout.END, "do_sample": True, "temperature": 0.6, "top_p": 0.9},
        )
    layout.write_tokenizer(directory)

    evaluated = build_reference(spec)
    exact = reference.exact(evaluated)
    tensors = reference.run(exact, spec)
    save_file(tensors, directory / "reference.safetensors")
    (directory / "reference.safetensors").chmod(0o644)
    if spec.reference_as:
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            file.write(evaluated.SerializeToString())
            file.flush()
            check(spec, file.name, exact, tensors)
    else:
        check(spec, path, exact, tensors)

    shipped = path
    if spec.reference_as:
        shipped = evaluated
    elif spec.sliding_window_cache:
        shipped = reference.changed(model, [(GQA, "sliding_window_cache", None)])
    runs = spec.io != "bf16" or None  # ONNX Runtime has no bf16 on the CPU
    level_4 = reference.changed(exact, [("MatMulNBits", "accuracy_level", 4)])
    errors = {
        "ort_fp32": runs and reference.error(reference.run(shipped, spec, force_fp32=True, optimise=True), tensors),
        "ort_as_shipped": runs and reference.error(reference.run(shipped, spec, optimise=True), tensors),
        "ort_level_4": reference.error(reference.run(level_4, spec), tensors),
        "int8_block_32": reference.error(reference.run(reference.int8_activations(exact), spec), tensors),
    }
    if spec.layout == "transformers.js":
        errors["ort_fp32_q4f16"] = reference.error(
            reference.run(directory / "onnx" / "model_q4f16.onnx", spec, force_fp32=True, optimise=True), tensors
        )
    return {name: value and float(f"{value:.3g}") for name, value in errors.items()}


def check(spec, path, exact, tensors):
    """Stops where the reference would be wrong or would not notice the feature."""
    if not all((abs(values) < 1e4).all() for name, values in tensors.items() if "logits" in name):
        raise SystemExit(f"{spec.name}: logits out of range")
    session = reference.session(exact)
    for source, evaluate in (
        ("ONNX Runtime, whole prefills", lambda tokens: reference.Sequence(session, spec).step(tokens)),
        ("NumPy", lambda tokens: independent.logits(path, spec, tokens)),
    ):
        difference = reference.error(reference.whole(evaluate, spec), tensors)
        if difference > 2e-5:
            raise SystemExit(f"{spec.name}: {source} differs from the reference by {difference}")
    for change in spec.ablate:
        moved = reference.error(reference.run(reference.changed(exact, [change]), spec), tensors)
        if moved < 0.03:
            raise SystemExit(f"{spec.name}: {change} moves the logits by {moved} only")


README = """# Graph forms

Small decoders with random weights, one directory a form that published model directories have and the directories in
`../models` lack. `make_variants.py` writes them (and this file); the same versions of onnx and ONNX Runtime give the same bytes.

`reference.safetensors` has the keys of `../models/*/reference.safetensors`: for `short` and `long` the prompt, the logits of its last
16 positions from one prefill, eight tokens decoded one at a time, and the logits after each. Differences:

- The logits are exact arithmetic on the file's values: ONNX Runtime in fp32, with fp16 and bf16 values widened and `accuracy_level` removed.
  (`mlas.qnbit.force_fp32` does not do: ONNX Runtime 1.32 obeys it for 4 bits with blocks of 32 only.)
- A pruned head has logits for the last position alone: `prompt_logits_last16` is then [1, V].
- `independent.py`, NumPy in float64 from the operators' definitions, agrees with every one within 2e-5 (the script checks it).
- Where ONNX Runtime's CPU kernels lack a form (`reference_as` in the script), all runs are of a graph with the same meaning that they have.
- Where LongRoPE's switch is crossed while generating, the logits from there on are those of a prefill of everything so far.
- For `sliding_window_cache` the reference comes from the same graph without that attribute, which has the same meaning.

`bounds.json`: the largest ||logits - reference|| / ||reference|| over the four logit tensors, for

| key | run |
|---|---|
| `ort_fp32` | the file in ONNX Runtime with `mlas.qnbit.force_fp32=1`; not zero for fp16 graphs (rounding between nodes) and where the entry is not obeyed |
| `ort_as_shipped` | the file in ONNX Runtime with default options |
| `ort_level_4` | fp32 graph, accuracy_level 4 on every MatMulNBits: activations in int8 by block of the weights |
| `int8_block_32` | fp32 graph, the input of every product with quantised weights rounded to int8 by row and block of 32 |

The first two are null for bf16, which ONNX Runtime's CPU kernels lack. What integer activations cost is the larger of the last two; strict fp32 arithmetic comes within 5e-5 of the reference, which
also tells Gelu's two forms apart (1e-4).

| directory | what it exercises |
|---|---|
"""


def main():
    wanted = sys.argv[1:]
    bounds_file = HERE / "bounds.json"
    bounds = json.loads(bounds_file.read_text()) if wanted and bounds_file.exists() else {}
    for spec in VARIANTS:
        if not wanted or spec.name in wanted:
            bounds[spec.name] = write(spec)
            size = sum(file.stat().st_size for file in (HERE / spec.name).rglob("*") if file.is_file())
            print(f"{spec.name:28} {size / 1000:6.0f} kB  {bounds[spec.name]}", flush=True)
    names = [spec.name for spec in VARIANTS]
    assert len(set(names)) == len(names)
    layout.write_json(bounds_file, {name: bounds[name] for name in names if name in bounds})
    rows = [f"| {spec.name} | {spec.exercises} |\n" for spec in VARIANTS]
    (HERE / "README.md").write_text(README + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
