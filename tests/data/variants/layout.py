"""Writes a model as a published directory: graph, external data, configuration and a tokenizer."""

import json

from onnx import TensorProto

from model_file import copy_of

BEGIN, END = 1, 2


def save(model, path, storage, data_name):
    """Writes `model` with its weights where `storage` says; external data is packed without gaps."""
    model = copy_of(model)
    pieces = {}
    for index, tensor in enumerate(model.graph.initializer):
        size = len(tensor.raw_data)
        smallest = {"mixed": 1024, "file_per_tensor": 4096}.get(storage, 1)
        inline = storage == "inline" or size < smallest or tensor.name.startswith("/model/constants/")
        if inline:
            continue
        name = f"{data_name}_1" if storage == "two_files" and index % 2 else data_name
        if storage == "file_per_tensor":
            name = f"weights/{index}.bin"
        data = pieces.setdefault(name, bytearray(b"\xff" if storage == "odd" else b""))
        if storage == "odd" and len(data) % 2 == 0:
            data += b"\xff"
        keys = [("location", name), ("offset", str(len(data))), ("length", str(size))]
        for key, text in keys[:1] if storage == "file_per_tensor" else keys:
            entry = tensor.external_data.add()
            entry.key, entry.value = key, text
        data += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
    path.write_bytes(model.SerializeToString(deterministic=True))
    if storage == "file_per_tensor":
        (path.parent / "weights").mkdir()
    for name, data in pieces.items():
        (path.parent / name).write_bytes(data)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def genai_config(spec, model):
    def named(name):
        return spec.names.get(name, name)

    present = {item.name for item in model.graph.input}
    inputs = {name: named(name) for name in ("input_ids", "attention_mask", "position_ids") if named(name) in present}
    for part in ("key", "value"):
        inputs[f"past_{part}_names"] = named(f"past_key_values.%d.{part}")
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": list(spec.provider_options)},
        "filename": "model.onnx",
        "head_size": spec.head_size,
        "hidden_size": spec.hidden,
        "inputs": inputs,
        "outputs": {
            "logits": named("logits"),
            "present_key_names": named("present.%d.key"),
            "present_value_names": named("present.%d.value"),
        },
        "num_attention_heads": spec.heads,
        "num_hidden_layers": spec.layers,
        "num_key_value_heads": spec.kv_heads,
    }
    if spec.sliding_window_cache:
        decoder["sliding_window"] = {
            "window_size": next(iter(spec.windows.values())),
            "slide_key_value_cache": False,
            "slide_inputs": False,
            "layers": sorted(spec.windows),
            "cache_slack": 0,
        }
    return {
        "model": {
            "bos_token_id": BEGIN,
            "context_length": spec.context,
            "decoder": decoder,
            "eos_token_id": END,
            "pad_token_id": END,
            "type": spec.family,
            "vocab_size": spec.vocabulary,
        },
        "search": {
            "do_sample": False,
            "max_length": spec.context,
            "min_length": 0,
            "num_beams": 1,
            "num_return_sequences": 1,
            "past_present_share_buffer": True,
            "repetition_penalty": 1.0,
            "temperature": 1.0,
            "top_k": 50,
            "top_p": 1.0,
        },
    }


def huggingface_config(spec):
    return {
        "architectures": [{"qwen2": "Qwen2ForCausalLM"}.get(spec.family, "LlamaForCausalLM")],
        "bos_token_id": BEGIN,
        "eos_token_id": END,
        "head_dim": spec.head_size,
        "hidden_size": spec.hidden,
        "intermediate_size": spec.intermediate,
        "max_position_embeddings": spec.context,
        "model_type": spec.family,
        "num_attention_heads": spec.heads,
        "num_hidden_layers": spec.layers,
        "num_key_value_heads": spec.kv_heads,
        "rms_norm_eps": spec.epsilon,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "transformers.js_config": {
            "use_external_data_format": {"model_q4.onnx": 1, "model_q4f16.onnx": 2},
            "kv_cache_dtype": {"q4f16": "float16"},
        },
        "vocab_size": spec.vocabulary,
    }


def write_tokenizer(directory):
    """A tokenizer of one token a printable ASCII character."""
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    names = ["<unk>", "<s>", "</s>"]
    characters = ["\n", *(chr(code) for code in range(32, 127))]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, "content": name, **special} for index, name in enumerate(names)],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: index for index, token in enumerate(names + characters)},
            "merges": [],
        },
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    write_json(
        directory / "tokenizer_config.json",
        {
            "bos_token": "<s>",
            "chat_template": template,
            "eos_token": "</s>",
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": "<unk>",
        },
    )
