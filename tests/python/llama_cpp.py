"""llama.cpp's tokenizer. Needs the PyPI package xllamacpp."""

import json
import multiprocessing
import urllib.request


def tokenize(path, texts, special=False):
    """The ids of each text with the vocabulary of the GGUF file, with the tokens that begin or end texts if `special`."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_serve, (str(path), texts, special))


def _serve(path, texts, special):
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_ctx = 128
    parameters.port = 18431
    parameters.warmup = False
    server = xllamacpp.Server(parameters)

    def ids(text):
        body = json.dumps({"content": text, "add_special": special, "parse_special": True}).encode()
        request = urllib.request.Request(
            f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"}
        )
        return json.loads(urllib.request.urlopen(request).read())["tokens"]

    return [ids(text) for text in texts]
