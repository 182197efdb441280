"""Small Llamas with random weights as GGUF files, for tests. Needs the PyPI package gguf."""

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

FLOATS = [Type.F32, Type.F16, Type.BF16]
# The types whose blocks keep every weight when they become blocks of MatMulNBits.
KEPT = [
    Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q8_0, Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q6_K,
    Type.IQ4_NL, Type.IQ4_XS, Type.MXFP4,
]  # fmt: skip
# The types that are quantised anew.
REQUANTISED = [Type.Q5_1, Type.Q5_K]
# Byte offsets of the float16 scale and minimum of a block, where random bytes make the rest of it.
HALVES = {
    Type.Q2_K: (80, 82), Type.Q3_K: (108, None), Type.Q4_K: (0, 2), Type.Q5_K: (0, 2), Type.Q6_K: (208, None),
    Type.IQ4_NL: (0, None), Type.IQ4_XS: (0, None),
}  # fmt: skip
# The mean of a block's values, by which the minimum moves it to zero.
MIDDLE = {Type.Q2_K: 1.5, Type.Q4_K: 7.5, Type.Q5_K: 15.5}
SPREAD = 0.03


def rows(kind, count, columns, random):
    """`count` rows as bytes, whose weights spread like those of a trained model."""
    if kind not in HALVES:
        return quantize(random.normal(0, SPREAD, (count, columns)).astype(np.float32), kind)
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (count * columns // elements, size), dtype=np.uint8)
    scale_at, minimum_at = HALVES[kind]

    def put(offset, values):
        blocks[:, offset : offset + 2] = np.asarray(values, np.float16).reshape(-1, 1).view(np.uint8)

    scales = random.uniform(0.5, 1.5, len(blocks)) * random.choice([-1, 1, 1, 1], len(blocks))
    put(scale_at, scales)
    if minimum_at is not None:
        put(minimum_at, scales * MIDDLE[kind])
    unit = SPREAD / dequantize(blocks, kind).std()
    put(scale_at, scales * unit)
    if minimum_at is not None:
        put(minimum_at, scales * unit * MIDDLE[kind])
    return blocks.reshape(count, -1)


def byte_level_tokenizer(writer):
    """Every byte a token, as GPT-2 spells it, one of two letters, and one that ends answers; the number of tokens."""
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    spelled = {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
    tokens = [spelled[byte] for byte in range(256)] + ["th", "<|end|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * 257 + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(257)
    return len(tokens)


def write(path, kind, add_tokenizer=byte_level_tokenizer, hidden=256, seed=1, tied=True, head=None):
    """One layer, every matrix of type `kind`; `head` is another type for the embedding and the head."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(hidden // 4)
    writer.add_layer_norm_rms_eps(1e-5)
    vocabulary = add_tokenizer(writer)

    def matrix(name, count, kind=kind):
        data = rows(kind, count, hidden, random)
        writer.add_tensor(name, data, raw_dtype=None if data.dtype == np.float32 else kind)

    def norm(name):
        writer.add_tensor(name, random.uniform(0.5, 1.5, hidden).astype(np.float32))

    matrix("token_embd.weight", vocabulary, head or kind)
    if not tied:
        matrix("output.weight", vocabulary, head or kind)
    norm("output_norm.weight")
    norm("blk.0.attn_norm.weight")
    norm("blk.0.ffn_norm.weight")
    for name, count in [
        ("attn_q", hidden), ("attn_k", hidden // 2), ("attn_v", hidden // 2), ("attn_output", hidden),
        ("ffn_gate", hidden), ("ffn_up", hidden), ("ffn_down", hidden),
    ]:  # fmt: skip
        matrix(f"blk.0.{name}.weight", count)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
