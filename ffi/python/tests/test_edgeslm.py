"""The package on a golden model, which EDGESLM_TEST_MODEL names."""

import json
import math
import pathlib
import pickle
import shutil
import subprocess
import sys

import numpy
import pytest

import edgeslm
from golden import MODEL, QUESTION


def test_the_model_tells_what_it_is(model):
    info = model.info
    assert info["vocabulary_size"] == model.vocabulary_size
    assert model.context_length == info["context_length"]
    assert edgeslm.build_info()["version"] == edgeslm.__version__
    estimate = edgeslm.Model.estimate(MODEL, 64)
    assert estimate.total == estimate.weights + estimate.cache + estimate.scratch + estimate.text
    assert edgeslm.Model.estimate(MODEL, 640).cache > estimate.cache
    assert model.recommended_sampling.temperature >= 0


class Pack:
    """The files of a directory in memory."""

    def __init__(self, directory):
        self.files = {path.name: path.read_bytes() for path in pathlib.Path(directory).iterdir()}
        self.failing = None

    def size(self, name):
        return len(self.files[name]) if name in self.files else None

    def read(self, name, offset, length):
        if name == self.failing:
            raise KeyError("the key is wrong")
        return self.files[name][offset : offset + min(length, 5000)]


def test_a_source_gives_the_model_that_its_directory_gives(session):
    pack = Pack(MODEL)
    with edgeslm.Model.load_from(pack, threads=1) as model, model.session() as other:
        pack.files.clear()
        answer = other.generate(QUESTION, max_tokens=8, ignore_stop_tokens=True).text()
    assert answer == session.generate(QUESTION, max_tokens=8, ignore_stop_tokens=True).text()


def test_failures_of_sources():
    pack = Pack(MODEL)
    pack.failing = "model.onnx.data"
    with pytest.raises(KeyError, match="the key is wrong"):
        edgeslm.Model.load_from(pack)
    pack.failing = None
    del pack.files["model.onnx.data"]
    with pytest.raises(edgeslm.NotFoundError) as caught:
        edgeslm.Model.load_from(pack)
    assert caught.value.file == "model.onnx.data"
    pack.files["model.onnx.data"] = b"cut"
    with pytest.raises(edgeslm.InvalidModelError):
        edgeslm.Model.load_from(pack)
    with pytest.raises(AttributeError):
        edgeslm.Model.load_from(object())


def test_text_to_tokens_and_back(model):
    tokens = model.tokenize("The door is open.", "plain")
    assert model.count_tokens("The door is open.", "plain") == len(tokens) > 3
    assert model.detokenize(tokens) == "The door is open."
    assert model.tokenize("", "plain") == [] and model.detokenize([]) == ""
    assert QUESTION in model.render([{"role": "user", "content": QUESTION}])
    with pytest.raises(ValueError, match="there is no mode"):
        model.tokenize("x", "other")


def test_a_stream_is_its_text(session):
    stream = session.generate(QUESTION, max_tokens=12, ignore_stop_tokens=True)
    pieces = list(stream)
    assert pieces and all(pieces)
    finished = stream.finished
    assert finished.reason == "max_tokens" and finished.statistics.generated_tokens == 12
    assert finished.statistics.time_to_first_token > 0
    assert session.statistics == finished.statistics
    assert session.generate(QUESTION, max_tokens=12, ignore_stop_tokens=True).text() == "".join(pieces)
    assert session.statistics.reused_tokens > 0
    assert stream.next_event() is None


def test_a_turn_enters_the_history(model):
    with model.session(system="Be brief.") as session:
        answer = session.turn(QUESTION, max_tokens=5).text()
        kept = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": answer},
        ]
        assert session.history == kept
        assert len(session) > 0
        session.rewind(3)
        assert len(session) == 3
        session.reset()
        assert session.history == kept[:1] and len(session) == 0
        assert session.chat(kept[:2], max_tokens=5).text() == answer
        session.history = kept
        assert session.history == kept


def test_tokens_come_with_probabilities_where_asked_for(session):
    events = list(session.generate(QUESTION, max_tokens=3, ignore_stop_tokens=True, log_probabilities=4).events())
    tokens = [event for event in events if isinstance(event, edgeslm.Token)]
    assert len(tokens) == 3
    for token in tokens:
        assert len(token.top) == 4 and token.top[0] == (token.id, token.log_probability)
        assert token.log_probability < 0
    plain = session.generate(QUESTION, max_tokens=1, ignore_stop_tokens=True).events()
    assert [event.log_probability for event in plain if isinstance(event, edgeslm.Token)] == [None]


def test_the_highest_logit_is_the_greedy_token(model, session):
    tokens = model.tokenize(QUESTION)
    logits = session.logits(tokens, last=2)
    assert logits.shape == (2, model.vocabulary_size) and logits.dtype == numpy.float32
    assert numpy.isfinite(logits).all()
    events = session.generate(QUESTION, max_tokens=1, ignore_stop_tokens=True).events()
    assert [event.id for event in events if isinstance(event, edgeslm.Token)] == [logits[1].argmax()]
    for last in (0, len(tokens) + 1):
        with pytest.raises(edgeslm.InvalidArgumentError):
            session.logits(tokens, last=last)


def test_labels_get_probabilities(session):
    result = session.classify("The pump is leaking. This is", [" urgent", " routine", " nothing"])
    assert math.isclose(sum(result.probabilities), 1, rel_tol=1e-5)
    assert result.label == [" urgent", " routine", " nothing"][result.index]
    assert result.probabilities[result.index] == max(result.probabilities)
    chat = session.classify([{"role": "user", "content": QUESTION}], ["yes", "no"], score="trie_normalised")
    assert len(chat.probabilities) == 2
    with pytest.raises(ValueError, match="there is no score"):
        session.classify("x", ["a"], score="other")


CLASSES, WORDS = ["urgent", "routine"], [" urgent", " routine", " nothing"]
CASES = [(f"Case {index}: the pump {'leaks' if index % 2 else 'hums'} at {index}. This is", index % 2) for index in range(24)]


def test_a_calibration_decides_and_survives_saving(model, session, tmp_path):
    calibration = model.calibrate(session, CLASSES, WORDS, CASES, prompt="pumps 1", risk=0.4, confidence=0.8)
    assert calibration.classes == ("urgent", "routine")
    facts = calibration.facts
    assert (facts.class_count, facts.label_count, facts.examples) == (2, 3, 24)
    assert (facts.risk, facts.confidence) == (0.4, 0.8) and facts.log_loss > 0
    path = tmp_path / "pumps.json"
    calibration.save(path)
    assert path.read_text(encoding="utf-8") == calibration.json
    with model.load_calibration(path, "pumps 1") as loaded, model.parse_calibration(calibration.json) as parsed:
        for prompt, _ in CASES[:4]:
            decision = session.decide(prompt, calibration)
            assert math.isclose(sum(decision.probabilities), 1, rel_tol=1e-5)
            assert decision.label == CLASSES[decision.index] and decision.probability == max(decision.probabilities)
            assert decision.abstain == (decision.probability < facts.threshold)
            assert session.decide(prompt, loaded) == decision == session.decide(prompt, parsed)
        chat = session.decide([{"role": "user", "content": QUESTION}], loaded)
        assert len(chat.probabilities) == 2
    with pytest.raises(edgeslm.ClosedError):
        session.decide("x", loaded)


def test_calibrations_of_others_are_refused(model, session, tmp_path):
    calibration = model.calibrate(session, CLASSES, WORDS, CASES, prompt="pumps 1", risk=0)
    assert calibration.facts.threshold == 0 and not session.decide(CASES[0][0], calibration).abstain
    with pytest.raises(edgeslm.InvalidArgumentError, match="another prompt"):
        model.parse_calibration(calibration.json, "pumps 2")
    other = calibration.json.replace('"model":"', '"model":"0')
    with pytest.raises(edgeslm.InvalidArgumentError, match="another model"):
        model.parse_calibration(other)
    with pytest.raises(edgeslm.InvalidModelError, match="not JSON"):
        model.parse_calibration(calibration.json[:100])
    with pytest.raises(edgeslm.NotFoundError):
        model.load_calibration(tmp_path / "absent.json")
    with pytest.raises(edgeslm.InvalidArgumentError, match="1 examples"):
        model.calibrate(session, CLASSES, WORDS, CASES[:3], prompt="p")
    with pytest.raises(edgeslm.InvalidArgumentError, match="1 labels for 2 classes"):
        model.calibrate(session, CLASSES, WORDS[:1], CASES, prompt="p")


def test_answers_follow_their_grammar(model, session):
    with model.grammar(choices=["red", "green"]) as grammar:
        stream = session.generate(QUESTION, grammar=grammar)
    assert stream.text() in ("red", "green")
    assert (stream.finished.reason, stream.finished.completion) == ("grammar", "complete")
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
    stream = session.generate(QUESTION, grammar=model.grammar(schema=schema), max_tokens=24)
    assert list(json.loads(stream.text())) == ["a"]
    assert stream.finished.completion in ("complete", "shortened")
    assert session.generate(QUESTION, grammar=model.grammar(regex="[0-9]{3}")).text().isdigit()
    assert set(session.generate(QUESTION, grammar=model.grammar(lark='start: "a" "a"+'), max_tokens=9).text()) == {"a"}
    for wrong, kind in [
        ({"schema": "{"}, edgeslm.GrammarError), ({"choices": []}, edgeslm.GrammarError),
        ({"schema": {"not": {}}}, edgeslm.UnsupportedError), ({}, TypeError), ({"regex": "a", "lark": "b"}, TypeError),
    ]:
        with pytest.raises(kind):
            model.grammar(**wrong)
    with pytest.raises(edgeslm.ClosedError):
        session.generate(QUESTION, grammar=grammar)


def test_what_is_extracted_is_looked_up(model, session):
    schema = {"type": "object", "properties": {"total": {"type": "number"}, "shop": {"type": "string"}}}
    extractor = model.extractor(schema, examples=[("Total 3", {"total": 3, "shop": None})], instructions="Find these.")
    found = session.extract(extractor, "Total 12,50", max_tokens=60)
    assert list(found.value) == ["total", "shop"]
    assert [field.path for field in found.fields] == ["/total", "/shop"]
    for field in found.fields:
        assert field.support in ("found", "missing", "unsupported")
        assert (field.start is not None) == (field.support == "found")
        assert (found.value[field.path[1:]] is None) == (field.support != "found")
    assert found.completion in ("complete", "shortened")
    with pytest.raises(edgeslm.InvalidArgumentError):
        session.extract(extractor, "Total 12,50", max_tokens=1)
    with pytest.raises(edgeslm.InvalidArgumentError):
        model.extractor("true")


def test_sampling_is_repeatable_and_greedy_by_default(session):
    def answer(seed):
        sampling = edgeslm.Sampling(temperature=1.5, seed=seed)
        return session.generate(QUESTION, max_tokens=20, sampling=sampling, ignore_stop_tokens=True).text()

    assert answer(1) == answer(1)
    assert len({answer(seed) for seed in range(1, 6)}) > 1
    greedy = list(session.generate(QUESTION, max_tokens=1, ignore_stop_tokens=True).events())
    first = next(event.id for event in greedy if isinstance(event, edgeslm.Token))
    sampling = edgeslm.Sampling(logit_bias={first: -math.inf})
    events = session.generate(QUESTION, max_tokens=1, sampling=sampling, ignore_stop_tokens=True).events()
    assert first not in [event.id for event in events if isinstance(event, edgeslm.Token)]


def test_failures_are_typed_and_tell_their_parts(model, session, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        edgeslm.Model(tmp_path / "nowhere")
    assert isinstance(caught.value, edgeslm.NotFoundError)
    assert caught.value.name == "not_found" and "nowhere" in caught.value.file
    # As an error of another process arrives.
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is type(caught.value) and str(copy) == str(caught.value) and copy.file == caught.value.file
    damaged = tmp_path / "damaged ü"
    shutil.copytree(MODEL, damaged)
    graph = damaged / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(edgeslm.InvalidModelError) as caught:
        edgeslm.Model(damaged)
    assert caught.value.file == str(graph) and str(graph) in str(caught.value)
    with pytest.raises(edgeslm.InvalidArgumentError, match="temperature"):
        session.generate("x", sampling=edgeslm.Sampling(temperature=-1))
    with pytest.raises(ValueError):
        session.generate("")
    with pytest.raises(TypeError):
        session.generate("x", colour="red")
    with edgeslm.Model(MODEL, memory_budget=1) as poor, pytest.raises(MemoryError):
        poor.session().generate("x").text()


@pytest.mark.parametrize(
    "use, says",
    [
        (lambda session: session.chat("Hello!"), "list of messages"),
        (lambda session: session.chat({"role": "user", "content": "Hello!"}), "list of messages"),
        (lambda session: session.chat([{"role": "user"}]), "message 0 has no text 'content'"),
        (lambda session: session.chat([{"role": "user", "content": "x"}, "y"]), "message 1 has no text 'role'"),
        (lambda session: session.classify("x", "yes"), "list of texts"),
        (lambda session: session.classify("x", ["yes", None]), "not NoneType"),
        (lambda session: session.turn(None), "not NoneType"),
        (lambda session: session.generate("x", stop=[3]), "not int"),
        (lambda session: session.generate("x", max_token=3), "max_token"),
    ],
)
def test_values_of_the_wrong_kind_are_named(session, use, says):
    with pytest.raises(TypeError, match=says):
        use(session)
    session.reset()


def test_the_package_is_typed(tmp_path):
    assert (pathlib.Path(edgeslm.__file__).parent / "py.typed").is_file()
    program = tmp_path / "program.py"

    def check(line):
        before = ["import edgeslm", "model = edgeslm.Model('x', threads=2)", "session = model.session(system='x')"]
        program.write_text("\n".join([*before, line, ""]))
        command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    right = check("pieces: list[str] = list(session.turn('x', max_tokens=3, sampling=edgeslm.Sampling(seed=1)))")
    assert right.returncode == 0, right.stdout
    for line, says in [
        ("session.turn('x', max_token=3)", "max_token"),
        ("session.turn('x', deadline='soon')", "deadline"),
        ("session.classify('x', ['a']).labels", "labels"),
        ("model.session(temperature=1)", "temperature"),
    ]:
        wrong = check(line)
        assert wrong.returncode == 1 and says in wrong.stdout, wrong.stdout
