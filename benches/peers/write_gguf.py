"""Writes the model of a directory of `edgeslm import` or `cargo xtask synth` as a GGUF file, for peers that read no ONNX.

usage: write_gguf.py DIRECTORY FILE

The graph has to be Llama's, with 4-bit weights in symmetric blocks of 32. They become Q4_0, which holds the same codes and
the scales in 16 bits.
"""

import json
import os
import sys

import gguf
import numpy
import onnx
from onnx import numpy_helper

# Weights of a block, and its bytes in Q4_0.
BLOCK = 32
BLOCK_BYTES = 2 + BLOCK // 2

# The base of the rotation's wavelengths where the graph shows none, for one wavelength alone.
DEFAULT_THETA = 10000.0


class Directory:
    def __init__(self, path):
        self.path = path
        with open(os.path.join(path, "genai_config.json"), encoding="utf-8") as text:
            self.model = json.load(text)["model"]
        self.decoder = self.model["decoder"]
        self.graph = onnx.load(os.path.join(path, self.decoder["filename"]), load_external_data=False).graph
        self.tensors = {tensor.name: tensor for tensor in self.graph.initializer}

    def array(self, name):
        if name not in self.tensors:
            sys.exit(f"{self.path}: the graph has no {name}, so it is none that this script writes as GGUF")
        return numpy_helper.to_array(self.tensors[name], self.path)

    def blocks(self, name):
        """The codes, a byte each, as rows of blocks, and the blocks' scales."""
        packed = self.array(f"{name}.MatMul.weight_Q4")
        scales = self.array(f"{name}.MatMul.weight_scales")
        if f"{name}.MatMul.weight_zp" in self.tensors or packed.shape[2] != BLOCK // 2:
            sys.exit(f"{self.path}: {name} is not stored in symmetric blocks of {BLOCK}")
        codes = numpy.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:2], BLOCK)
        return codes, scales.reshape(packed.shape[:2])

    def epsilon(self):
        for node in self.graph.node:
            if node.op_type == "SimplifiedLayerNormalization":
                return next(attribute.f for attribute in node.attribute if attribute.name == "epsilon")
        sys.exit(f"{self.path}: the graph has no RMS norm")


def q4_0(codes, scales):
    """Q4_0 has the first half of a block in the low halves of its bytes and the second half in the high ones."""
    rows, blocks, _ = codes.shape
    out = numpy.empty((rows, blocks, BLOCK_BYTES), numpy.uint8)
    out[:, :, :2] = scales.astype(numpy.float16)[:, :, None].view(numpy.uint8)
    out[:, :, 2:] = codes[:, :, : BLOCK // 2] | codes[:, :, BLOCK // 2 :] << 4
    return out.reshape(rows, blocks * BLOCK_BYTES)


def interleaved(array, heads):
    """GGUF rotates neighbouring rows of a head, the graph rows that are half a head apart."""
    halves = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
    return halves.swapaxes(1, 2).reshape(array.shape)


def rotation(directory):
    """The base of the wavelengths, and by how much each is longer than the base makes it; `None` where none is."""
    sine, cosine = (directory.array(name)[1].astype(numpy.float64) for name in ("sin_cache", "cos_cache"))
    frequencies = numpy.arctan2(sine, cosine)
    count = len(frequencies)
    # The longest wavelengths alone are stretched.
    theta = float(frequencies[1] ** -count) if count > 1 else DEFAULT_THETA
    theta = float(f"{theta:.3g}")
    factors = theta ** (-numpy.arange(count) / count) / frequencies
    stretched = numpy.abs(factors - 1.0).max() > 0.01
    return theta, factors.astype(numpy.float32) if stretched else None


def add_tokenizer(writer, directory, rows):
    with open(os.path.join(directory.path, "tokenizer.json"), encoding="utf-8") as text:
        tokenizer = json.load(text)
    tokens = [f"[unused {index}]" for index in range(rows)]
    types = [gguf.TokenType.UNUSED] * rows
    for token, index in tokenizer["model"]["vocab"].items():
        tokens[index], types[index] = token, gguf.TokenType.NORMAL
    for token in tokenizer["added_tokens"]:
        tokens[token["id"]], types[token["id"]] = token["content"], gguf.TokenType.CONTROL
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    if not merges:
        # Readers want at least one: two bytes that are no word.
        merges = ["\u0100 \u0100"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    end = directory.model["eos_token_id"]
    writer.add_eos_token_id(end[0] if isinstance(end, list) else end)
    writer.add_bos_token_id(directory.model["bos_token_id"])


def add_weights(writer, directory):
    decoder = directory.decoder
    heads, kv_heads = decoder["num_attention_heads"], decoder["num_key_value_heads"]
    head, layers = decoder["head_size"], decoder["num_hidden_layers"]

    def blocks(name, codes, scales):
        writer.add_tensor(f"{name}.weight", q4_0(codes, scales), raw_dtype=gguf.GGMLQuantizationType.Q4_0)

    def norm(name, source):
        writer.add_tensor(f"{name}.weight", directory.array(source).astype(numpy.float32))

    blocks("token_embd", *directory.blocks("lm_head"))
    for layer in range(layers):
        ours, theirs = f"model.layers.{layer}", f"blk.{layer}"
        norm(f"{theirs}.attn_norm", f"{ours}.input_layernorm.weight")
        norm(f"{theirs}.ffn_norm", f"{ours}.post_attention_layernorm.weight")
        codes, scales = directory.blocks(f"{ours}.attn.qkv_proj")
        start = 0
        for name, count in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            parts = [array[start : start + count * head] for array in (codes, scales)]
            if name != "v":
                parts = [interleaved(part, count) for part in parts]
            blocks(f"{theirs}.attn_{name}", *parts)
            start += count * head
        if start != len(codes):
            sys.exit(f"{directory.path}: the product of queries, keys and values has {len(codes)} rows, not {start}")
        blocks(f"{theirs}.attn_output", *directory.blocks(f"{ours}.attn.o_proj"))
        for name in ("gate", "up", "down"):
            blocks(f"{theirs}.ffn_{name}", *directory.blocks(f"{ours}.mlp.{name}_proj"))
    norm("output_norm", f"model.layers.{layers}.final_norm_layernorm.weight")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    directory, out = Directory(sys.argv[1]), sys.argv[2]
    decoder = directory.decoder
    if not any(node.op_type == "GatherBlockQuantized" for node in directory.graph.node):
        sys.exit(f"{directory.path}: the embedding is not the head's matrix")
    theta, factors = rotation(directory)
    rows = len(directory.array("lm_head.MatMul.weight_scales"))
    partial = out + ".partial"
    writer = gguf.GGUFWriter(partial, "llama")
    writer.add_name(os.path.basename(os.path.normpath(directory.path)))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_context_length(directory.model["context_length"])
    writer.add_embedding_length(decoder["hidden_size"])
    writer.add_block_count(decoder["num_hidden_layers"])
    writer.add_feed_forward_length(len(directory.array("model.layers.0.mlp.up_proj.MatMul.weight_scales")))
    writer.add_head_count(decoder["num_attention_heads"])
    writer.add_head_count_kv(decoder["num_key_value_heads"])
    writer.add_key_length(decoder["head_size"])
    writer.add_value_length(decoder["head_size"])
    writer.add_rope_dimension_count(decoder["head_size"])
    writer.add_rope_freq_base(theta)
    writer.add_layer_norm_rms_eps(directory.epsilon())
    writer.add_vocab_size(rows)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_tokenizer(writer, directory, rows)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    add_weights(writer, directory)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    # The file appears complete or not at all.
    os.replace(partial, out)


main()
