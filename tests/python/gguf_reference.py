"""A plain NumPy Llama over a GGUF file: what an import must reproduce.

Nothing is shared with the library: the file is parsed here, and the rotation works on pairs side by side, as the
file has its query and key rows, where the ONNX graph has them half against half. The PyPI package gguf dequantises
what is not plain.
"""

import struct

import gguf
import gguf.quants
import numpy as np

SCALAR = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


class Gguf:
    def __init__(self, path):
        self.bytes = np.memmap(path, dtype=np.uint8, mode="r")
        self.position = 0
        assert self.take(4).tobytes() == b"GGUF"
        version, tensors, keys = self.scalar("<I"), self.scalar("<Q"), self.scalar("<Q")
        assert version in (2, 3)
        self.metadata = {}
        for _ in range(keys):
            key = self.string()
            self.metadata[key] = self.value(self.scalar("<I"))
        self.infos = {}
        for _ in range(tensors):
            name = self.string()
            dims = [self.scalar("<Q") for _ in range(self.scalar("<I"))]
            self.infos[name] = (dims, self.scalar("<I"), self.scalar("<Q"))
        alignment = self.metadata.get("general.alignment", 32)
        self.data = -(-self.position // alignment) * alignment

    def take(self, length):
        taken = self.bytes[self.position : self.position + length]
        self.position += length
        return taken

    def scalar(self, format):
        return struct.unpack(format, self.take(struct.calcsize(format)).tobytes())[0]

    def string(self):
        return self.take(self.scalar("<Q")).tobytes().decode()

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            item, length = self.scalar("<I"), self.scalar("<Q")
            return [self.value(item) for _ in range(length)]
        return self.scalar(SCALAR[kind])

    def tensor(self, name):
        """The dequantised tensor, float32, last dimension first in the file."""
        dims, kind, offset = self.infos[name]
        count = int(np.prod(dims))
        start = self.data + offset
        if kind in (0, 1):
            dtype = {0: "<f4", 1: "<f2"}[kind]
            size = count * np.dtype(dtype).itemsize
            values = self.bytes[start : start + size].view(dtype).astype(np.float32)
        elif kind in (2, 3, 8):
            size = {2: 18, 3: 20, 8: 34}[kind]
            blocks = self.bytes[start : start + count // 32 * size].reshape(-1, size)
            scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
            if kind == 8:
                values = blocks[:, 2:].view(np.int8) * scale
            else:
                nibbles = blocks[:, size - 16 :]
                quants = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32)
                minimum = -8 * scale if kind == 2 else blocks[:, 2:4].copy().view("<f2").astype(np.float32)
                values = quants * scale + minimum
        else:
            kind = gguf.GGMLQuantizationType(kind)
            elements, size = gguf.GGML_QUANT_SIZES[kind]
            values = gguf.quants.dequantize(self.bytes[start : start + count // elements * size], kind)
        return values.astype(np.float32).reshape(dims[::-1])


class Llama:
    """Llama and Qwen 2 in float32, one sequence, no cache."""

    def __init__(self, path):
        self.file = Gguf(path)
        self.architecture = self.file.metadata["general.architecture"]
        self.weights = {name: self.file.tensor(name) for name in self.file.infos}

    def number(self, key, default=None):
        return self.file.metadata.get(f"{self.architecture}.{key}", default)

    def norm(self, hidden, name):
        scale = np.sqrt(np.mean(hidden.astype(np.float64) ** 2, -1, keepdims=True) + self.number("attention.layer_norm_rms_epsilon"))
        return (hidden / scale).astype(np.float32) * self.weights[name]

    def rotate(self, heads):
        """heads: [positions, heads, size]"""
        positions, _, size = heads.shape
        frequency = self.number("rope.freq_base", 10000.0) ** (-np.arange(0, size, 2) / size)
        if "rope_freqs.weight" in self.weights:
            frequency = frequency / self.weights["rope_freqs.weight"]
        angle = np.arange(positions)[:, None, None] * frequency
        turned = np.empty_like(heads)
        if self.architecture == "llama":
            first, second = slice(0, None, 2), slice(1, None, 2)
        else:
            first, second = slice(0, size // 2), slice(size // 2, None)
        turned[..., first] = heads[..., first] * np.cos(angle) - heads[..., second] * np.sin(angle)
        turned[..., second] = heads[..., first] * np.sin(angle) + heads[..., second] * np.cos(angle)
        return turned

    def project(self, hidden, name):
        product = hidden @ self.weights[f"{name}.weight"].T
        return product + self.weights.get(f"{name}.bias", np.float32(0))

    def logits(self, tokens):
        query_heads = self.number("attention.head_count")
        kv_heads = self.number("attention.head_count_kv", query_heads)
        hidden = self.weights["token_embd.weight"][tokens]
        positions = len(tokens)
        mask = np.triu(np.full((positions, positions), -np.inf, np.float32), 1)
        for layer in range(self.number("block_count")):
            place = f"blk.{layer}"
            normed = self.norm(hidden, f"{place}.attn_norm.weight")
            split = lambda name, heads: self.project(normed, f"{place}.{name}").reshape(positions, heads, -1)
            query, key = self.rotate(split("attn_q", query_heads)), self.rotate(split("attn_k", kv_heads))
            value = split("attn_v", kv_heads)
            key, value = (np.repeat(part, query_heads // kv_heads, axis=1) for part in (key, value))
            scores = np.einsum("qhd,khd->hqk", query, key) / np.sqrt(query.shape[-1]) + mask
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            attended = np.einsum("hqk,khd->qhd", scores, value).reshape(positions, -1).astype(np.float32)
            hidden = hidden + self.project(attended, f"{place}.attn_output")
            normed = self.norm(hidden, f"{place}.ffn_norm.weight")
            gate = self.project(normed, f"{place}.ffn_gate")
            gated = gate / (1 + np.exp(-gate)) * self.project(normed, f"{place}.ffn_up")
            hidden = hidden + self.project(gated, f"{place}.ffn_down")
        head = "output.weight" if "output.weight" in self.weights else "token_embd.weight"
        return self.norm(hidden, "output_norm.weight") @ self.weights[head].T
