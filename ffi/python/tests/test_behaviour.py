"""The list of behaviour cases that all languages share, which EDGESLM_TEST_LIST names, on the models in EDGESLM_TEST_MODELS."""

import json
import os
import pathlib
import re

import edgeslm

LIST = pathlib.Path(os.environ["EDGESLM_TEST_LIST"])
MODELS = pathlib.Path(os.environ["EDGESLM_TEST_MODELS"])

# How much a probability or the logarithm of one may differ.
TOLERANCE = 1e-6


def unescape(value):
    def byte(match):
        code = match[1]
        return {b"n": b"\n", b"t": b"\t", b"\\": b"\\"}.get(code) or bytes([int(code[1:], 16)])

    return re.sub(rb"\\(n|t|\\|x[0-9a-f]{2})", byte, value.encode())


class Case:
    """The lines of a case: keys with their values, as bytes until they are known to be texts."""

    def __init__(self, name):
        self.name, self.given, self.expected = name, [], []

    def all(self, key):
        return [value.decode() for name, value in self.given if name == key]

    def find(self, key, otherwise=None):
        return next(iter(self.all(key)), otherwise)

    def numbers(self, **kinds):
        """The values of those keys that the case has, each of its kind."""
        return {key: kind(self.find(key)) for key, kind in kinds.items() if self.find(key) is not None}

    def flags(self, *keys):
        return {key: self.find(key) is not None for key in keys}


def read():
    cases = []
    for line in LIST.read_text(encoding="utf-8").split("\n"):
        if line.startswith("#") or not line:
            continue
        expectation = line.startswith("= ")
        key, _, value = line[2 if expectation else 0:].partition(" ")
        if key == "case":
            cases.append(Case(value))
        elif expectation:
            cases[-1].expected.append((key, unescape(value).decode()))
        else:
            cases[-1].given.append((key, unescape(value)))
    return cases


def words(items):
    return " ".join(map(str, items))


def answer(case, stream):
    events = list(stream.events())
    tokens = [event for event in events if isinstance(event, edgeslm.Token)]
    finished = events[-1]
    lines = [
        ("tokens", words(token.id for token in tokens)),
        ("text", "".join(event.text for event in events if isinstance(event, edgeslm.Text))),
        ("finish", finished.reason),
    ]
    if case.find("grammar") is not None or case.all("choice"):
        lines.append(("completion", finished.completion))
    if case.find("seed") is not None:
        lines.append(("seed", str(finished.seed)))
    if case.find("log_probabilities") is not None:
        lines.append(("top", words(len(token.top) for token in tokens)))
        lines.append(("log_probabilities", words(f"{token.log_probability:.7f}" for token in tokens)))
    counts = finished.statistics
    lines.append(("counts", words([counts.prompt_tokens, counts.reused_tokens, counts.generated_tokens])))
    if case.find("draft_tokens") is not None:
        lines.append(("drafts", words([counts.drafted_tokens, counts.accepted_tokens])))
    return lines


def messages(case):
    pairs = (value.split(" ", 1) for value in case.all("message"))
    return [{"role": role, "content": content} for role, content in pairs]


def grammar_of(case, model):
    """The grammar of a case; None if it has none."""
    if case.all("choice"):
        return model.grammar(choices=case.all("choice"))
    if case.find("grammar") is None:
        return None
    kind, source = case.find("grammar").split(" ", 1)
    return model.grammar(**{kind: source})


def generate(case, session, model):
    sampling = edgeslm.Sampling(
        logit_bias={int(token): float(bias) for token, bias in map(str.split, case.all("bias"))},
        **case.numbers(
            temperature=float, top_k=int, top_p=float, min_p=float, repetition_penalty=float, frequency_penalty=float,
            presence_penalty=float, penalty_window=int, seed=int,
        ),
    )
    options = {
        "sampling": sampling,
        "grammar": grammar_of(case, model),
        "stop": case.all("stop"),
        "stop_tokens": list(map(int, case.all("stop_token"))),
        **case.numbers(max_tokens=int, log_probabilities=int, draft_tokens=int),
        **case.flags("ignore_stop_tokens"),
    }
    what = case.find("do")
    if what == "extract":
        found = session.extract(model.extractor(case.find("schema")), case.find("source_text"), **options)
        return [
            ("value", json.dumps(found.value, separators=(",", ":"), ensure_ascii=False)),
            ("support", words(f"{field.path}={field.support}" for field in found.fields)),
            ("completion", found.completion),
        ]
    if what == "generate":
        return answer(case, session.generate(case.find("prompt"), **options))
    if what == "chat":
        return answer(case, session.chat(messages(case), **options))
    return [line for turn in case.all("turn") for line in answer(case, session.turn(turn, **options))]


def classify(case, session, _model):
    prompt = case.find("prompt")
    result = session.classify(messages(case) if prompt is None else prompt, case.all("label"), score=case.find("score", "joint"))
    return [("index", str(result.index)), ("probabilities", words(f"{p:.8f}" for p in result.probabilities))]


def with_model(case, model):
    what, text, mode = case.find("do"), case.find("text"), case.find("mode", "prompt")
    if what == "tokenize":
        return [("tokens", words(model.tokenize(text, mode)))]
    if what == "count":
        return [("count", str(model.count_tokens(text, mode)))]
    if what == "detokenize":
        return [("text", model.detokenize(whole_numbers(case.find("ids")), **case.flags("skip_special_tokens")))]
    if what == "render":
        return [("text", model.render(messages(case)))]
    with model.session(**case.numbers(context=int, prefill_chunk=int, system=str)) as session:
        return (classify if what == "classify" else generate)(case, session, model)


class Pack:
    """The files of a directory, but one."""

    def __init__(self, directory, missing):
        self.directory, self.missing = directory, missing

    def size(self, name):
        path = self.directory / name
        return path.stat().st_size if path.is_file() and name != self.missing else None

    def read(self, name, offset, length):
        with open(self.directory / name, "rb") as file:
            file.seek(offset)
            return file.read(length)


def whole_numbers(text):
    return [int(word) for word in text.split()]


def load(case, options):
    directory = MODELS / case.find("model")
    if case.find("source") is None:
        return edgeslm.Model(directory, **options)
    return edgeslm.Model.load_from(Pack(directory, case.find("missing")), **options)


def run(case):
    options = case.numbers(accuracy=str, threads=int, processors=whole_numbers, context_length=int, memory_budget=int, kernels=str, kv_precision=str)
    options |= case.flags("copy")
    if case.find("low_priority") is not None:
        options["priority"] = "low"
    try:
        with load(case, options) as model:
            return with_model(case, model)
    except edgeslm.EdgeSlmError as error:
        return [("status", error.name)]


def near(found, expected):
    found, expected = ([float(word) for word in text.split()] for text in (found, expected))
    return len(found) == len(expected) and all(abs(a - b) <= TOLERANCE for a, b in zip(found, expected))


def same(found, expected):
    return len(found) == len(expected) and all(
        a == b or (a[0] == b[0] and a[0].endswith("probabilities") and near(a[1], b[1])) for a, b in zip(found, expected)
    )


def is_text(value):
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_the_shared_cases():
    count = skipped = 0
    for case in read():
        if all(is_text(value) for _key, value in case.given):
            found = run(case)
            assert same(found, case.expected), f"{case.name}:\nexpected {case.expected}\nfound {found}"
            count += 1
        else:
            print(f"skipped: {case.name}: it cannot be said in Python")
            skipped += 1
    print(f"{count} cases, {skipped} skipped")
    assert count > 30 and skipped <= 1
