"""What a small decoder is like: its shape, its types, and the form in which its graph is written."""

from dataclasses import dataclass, field

from weights import NBits


@dataclass
class Table:
    """An embedding table of its own: `type` "float", or the integers of a GatherBlockQuantized."""

    type: str = "float"  # "uint8", "uint8_8", "typed_int4", "typed_uint4", or "codes": Gather, then DequantizeLinear
    block: int = 32
    zero_points: bool = False


@dataclass
class Spec:
    name: str
    exercises: str
    family: str = "llama"
    seed: int = 1
    # Shape
    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 16
    intermediate: int = 96
    vocabulary: int = 160
    context: int = 216
    # Types: of inputs, outputs, norms and scales; `half_values` rounds fp32 values to what fp16 holds
    io: str = "f32"
    half_values: bool = False
    norm_casts: str | None = None  # "gemma" or "all": norms in fp32 inside an fp16 graph
    logits_cast: bool = False
    kv_casts: bool = False  # past and present in fp32 around an fp16 attention
    # Weights: by "layer.role", then role, then "*"
    weights: dict = field(default_factory=lambda: {"*": NBits()})
    embedding: object = "tied"  # "tied", "tied_transposed", "table_is_head" or a Table
    embedding_scale: float | None = None
    # Norms
    norm: str = "skip"  # "skip", "skip_bias", "separate", "rms", "layer", "decomposed", "decomposed_layer"
    sandwich: bool = False  # the four norms of Gemma
    parallel: bool = False  # attention and MLP both read the input norm
    epsilon: float = 1e-5
    qk_norm: str | None = None  # "3d" or "4d"
    # Attention
    packed: bool = True
    qkv_bias: bool = False
    rope: str = "gqa"  # "gqa", "nodes", or "standard_nodes" of ONNX
    positions: str = "input"  # "cumsum" over the mask, "range" over the lengths
    rope_layers: tuple | None = None
    rotary: int | None = None  # rotated elements of a head
    interleaved: bool = False
    second_cache_layers: tuple = ()  # layers that rotate by a table of their own
    longrope: str | None = None  # "if", "two_ifs", "concat", "concat_int32", or "concat_gqa": no position_ids
    switch: int = 64
    scale: float | None = None  # the attribute, None where absent
    softcap: float = 0.0
    windows: dict = field(default_factory=dict)  # by layer
    sliding_window_cache: bool = False
    sinks: bool = False
    smooth_softmax: bool = False
    gqa_position_ids: bool = False
    gqa_inputs: int = 12
    mask: str = "shape"  # "shape", "keepdims", "reduce_max", "cache_shape", "concat"
    # MLP
    mlp: object = "silu"  # an activation, or one a layer; "fc_..." has no gate
    fused_gate_up: bool = False
    mlp_bias: bool = False
    o_bias: bool = False
    residual_scale: float | None = None
    # Head
    head_bias: bool = False
    head_scale: float | None = None
    head_softcap: float | None = None
    pruned: bool = False
    logits_to_keep: str | None = None  # the input's name: the head gets that many of the last positions, all for 0
    # File
    opset: int = 22
    ir: int = 10
    kv_order: str = "keys_first"  # or "interleaved"
    constants: str = "nodes"  # "nodes", "initializers", "fields"
    factor_shape: tuple = ()  # of the constants in Mul and Div
    constant_first: bool = False  # Mul(constant, x) and Add(bias, x)
    storage: str = "external"  # "inline", "mixed", "odd", "two_files", "file_per_tensor"
    typed_fields: bool = False
    token_casts: bool = False  # token ids in int32, passed through Identity
    hidden_constants: bool = False  # behind Cast, Reshape, Squeeze and Unsqueeze
    integer_products: bool = True  # of formats that have them; dequantised weights otherwise
    shuffle_nodes: bool = False
    anonymous: bool = False  # nodes without names, values and weights named v0, v1, ...
    spelled_domain: bool = False  # "ai.onnx" in place of ""
    names: dict = field(default_factory=dict)  # inputs and outputs that are called otherwise
    symbolic_head: bool = True
    layout: str = "genai"  # "transformers.js"
    provider_options: tuple = ()  # of the session in genai_config.json
    # Fields of the spec that differ in the graph that ONNX Runtime's CPU kernels and NumPy evaluate in place of this one
    reference_as: dict = field(default_factory=dict)
    short: int = 48
    long: int = 200
    # What to change in the graph so that the logits must move: (op, attribute, value)
    ablate: tuple = ()
