"""The package on a golden model, which EDGESLM_TEST_MODEL names."""

import asyncio
import contextlib
import gc
import json
import math
import os
import pathlib
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy
import pytest

import edgeslm

MODEL = os.environ["EDGESLM_TEST_MODEL"]
# With the slowest kernels it takes seconds to compute the long prompt.
SLOW = {"directory": os.path.join(os.environ["EDGESLM_TEST_MODELS"], "mistral-nemo-int4"), "kernels": "scalar", "threads": 1}
LONG_PROMPT = "The door of the cold store is open. " * 60
QUESTION = "Is the door open?"
LONG = {"max_tokens": 100_000, "ignore_stop_tokens": True}


@pytest.fixture(autouse=True)
def interrupts():
    """Shells start programs in the background with interrupts ignored, and Python leaves it so."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def model():
    with edgeslm.Model(MODEL) as model:
        yield model


@pytest.fixture
def session(model):
    with model.session() as session:
        yield session


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


def test_an_open_stream_keeps_its_session_busy(session):
    with session.generate(QUESTION, max_tokens=3) as stream:
        next(stream)
        with pytest.raises(edgeslm.BusyError):
            session.reset()
    session.reset()
    with pytest.raises(edgeslm.ClosedError):
        next(stream)
    abandoned = session.generate(QUESTION)
    del abandoned
    gc.collect()
    session.reset()


def test_what_is_closed_says_so_and_order_does_not_matter():
    model = edgeslm.Model(MODEL)
    session = model.session()
    stream = session.generate(QUESTION, max_tokens=3)
    model.close()
    session.close()
    assert stream.text() is not None
    for use in (lambda: model.info, session.reset, lambda: model.session()):
        with pytest.raises(edgeslm.ClosedError):
            use()
    model.close()


def test_closing_what_another_thread_uses_waits_for_its_call():
    text = "The door of the cold store is open. " * 5_000
    with edgeslm.Model(MODEL) as model:
        expected = model.count_tokens(text)
    for _ in range(5):
        model = edgeslm.Model(MODEL)
        counts = []
        thread = threading.Thread(target=lambda model=model, counts=counts: counts.append(model.count_tokens(text)))
        thread.start()
        time.sleep(0.005)
        model.close()
        assert "closed" in repr(model)
        # What was freed too early would be overwritten.
        edgeslm.Model(MODEL).close()
        thread.join()
        assert counts == [expected]
        with pytest.raises(edgeslm.ClosedError):
            model.count_tokens(text)


def test_the_interpreter_ends_while_a_thread_computes():
    program = """if True:
        import sys, threading, time, edgeslm
        session = edgeslm.Model(sys.argv[1], kernels="scalar", threads=1).session()
        started = threading.Event()
        def work():
            while True:
                started.set()
                session.classify("The pump is leaking. " * 20, [" a", " b"])
                session.generate("x", max_tokens=20, ignore_stop_tokens=True).text()
        threading.Thread(target=work, daemon=True).start()
        started.wait()
        time.sleep(0.1)
    """
    for _ in range(3):
        command = [sys.executable, "-c", program, SLOW["directory"]]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (result.returncode, result.stderr) == (0, "")


def test_cancelling_from_another_thread(session):
    stream = session.generate(QUESTION, **LONG)
    next(stream)
    threading.Timer(0.05, stream.cancel).start()
    stream.text()
    assert stream.finished.reason in ("cancelled", "context_length")


def test_closing_while_another_thread_computes(session):
    for _ in range(20):
        stream = session.generate(QUESTION, **LONG)
        next(stream)
        ended = []

        def work(stream=stream, ended=ended):
            try:
                stream.text()
            except edgeslm.ClosedError:
                ended.append("closed")
            else:
                ended.append(stream.finished.reason)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.002)
        stream.close()
        session.reset()
        thread.join()
        assert ended in (["closed"], ["cancelled"])
        stream.cancel()


def test_a_deadline(session):
    stream = session.generate(QUESTION, deadline=0.001, **LONG)
    stream.text()
    assert stream.finished.reason in ("deadline", "context_length")


def test_keyboard_interrupt_ends_the_answer(model):
    session = model.session()
    seen = 0
    main = threading.main_thread().ident
    for _attempt in range(200):
        stream = session.generate(QUESTION, **LONG)
        timer = threading.Timer(0.01, signal.pthread_kill, (main, signal.SIGINT))
        try:
            timer.start()
            stream.text()
            timer.join()
            time.sleep(0.01)
        except KeyboardInterrupt:
            seen += 1
        finally:
            timer.join()
        # Whether the interrupt came inside the answer or behind it, the session is free.
        stream.close()
        session.reset()
        if seen == 3:
            return
    pytest.fail("no answer was interrupted")


@pytest.mark.parametrize("use", ["classify", "logits"])
def test_keyboard_interrupt_ends_other_calls(use):
    with edgeslm.Model(**SLOW) as model, model.session() as session:
        tokens = model.tokenize(LONG_PROMPT)
        call = {
            "classify": lambda: session.classify(LONG_PROMPT, [" a", " b"]),
            "logits": lambda: session.logits(tokens),
        }[use]
        timer = threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            call()
        assert len(session) < len(tokens)
        session.reset()


def test_asyncio_events_and_context(model):
    async def main():
        session = model.session()
        async with session.generate(QUESTION, max_tokens=3, ignore_stop_tokens=True) as stream:
            events = [event async for event in stream.events_async()]
        assert len([event for event in events if isinstance(event, edgeslm.Token)]) == 3
        assert events[-1] == stream.finished
        async with session.generate(QUESTION, **LONG) as stream:
            async for _text in stream:
                break
        session.reset()
        assert stream.finished is None and "closed" in repr(stream)
        with pytest.raises(edgeslm.ClosedError):
            await stream.next_event_async()
        await stream.aclose()

    asyncio.run(main())


def test_cancelling_a_task_does_not_block_the_event_loop():
    async def main(session, prompt):
        ticks = []

        async def clock():
            while True:
                ticks.append(time.monotonic())
                await asyncio.sleep(0.001)

        async def answer():
            async for _text in session.generate(prompt):
                pass

        ticking, task = asyncio.create_task(clock()), asyncio.create_task(answer())
        await asyncio.sleep(0.05)
        count = len(ticks)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        session.reset()
        ticking.cancel()
        return len(ticks) - count

    with edgeslm.Model(**SLOW) as model, model.session() as session:
        # What is under way may end at once; a loop that is blocked never ticks meanwhile.
        assert max(asyncio.run(main(session, LONG_PROMPT)) for _attempt in range(10)) >= 2


def test_asyncio_streams_beside_other_work(model):
    async def answer(session):
        return [text async for text in session.generate(QUESTION, max_tokens=8, ignore_stop_tokens=True)]

    async def main():
        sessions = [model.session() for _ in range(4)]
        answers = await asyncio.gather(*map(answer, sessions))
        assert all(pieces == answers[0] for pieces in answers) and answers[0]
        task = asyncio.create_task(answer_long(sessions[0]))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        sessions[0].reset()

    async def answer_long(session):
        while True:
            async for _text in session.generate(QUESTION, **LONG):
                pass

    asyncio.run(main())


def test_threads_with_a_session_each_get_the_same_answers(model):
    expected = model.session().generate(QUESTION, max_tokens=6, ignore_stop_tokens=True).text()
    answers = []

    def work():
        with model.session() as session:
            for _ in range(10):
                answers.append(session.generate(QUESTION, max_tokens=6, ignore_stop_tokens=True).text())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 40


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are looked up in /proc")
def test_the_engines_threads_run_where_and_as_they_are_told_and_the_caller_as_before():
    own, nice = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)

    def workers():
        found = {}
        for path in pathlib.Path("/proc/self/task").iterdir():
            task = int(path.name)
            # A thread of an earlier model may end meanwhile.
            with contextlib.suppress(OSError):
                if (path / "comm").read_text().startswith("edgeslm-"):
                    found[task] = os.sched_getaffinity(task), os.getpriority(os.PRIO_PROCESS, task)
        return found

    others = set(workers())
    expected = {max(own)}, max(nice, 10)
    with edgeslm.Model(MODEL, threads=3, processors=expected[0], priority="low") as model, model.session() as session:
        assert session.generate(QUESTION, max_tokens=3).text()
        assert [found for task, found in workers().items() if task not in others] == [expected] * 2
    assert (os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)) == (own, nice)
    with edgeslm.Model(MODEL, processors=[max(own)]) as model:
        assert model.info["threads"] == 1
    with pytest.raises(edgeslm.EdgeSlmError, match="processor 8191"):
        edgeslm.Model(MODEL, processors=[8191])
    with pytest.raises(ValueError, match="priority"):
        edgeslm.Model(MODEL, priority="urgent")


def test_the_gil_is_free_while_the_library_computes():
    ticks = 0
    longest = 0.0
    with edgeslm.Model(**SLOW) as model, model.session() as session:
        thread = threading.Thread(target=lambda: session.generate(LONG_PROMPT, max_tokens=1).text())
        started = last = time.monotonic()
        thread.start()
        while thread.is_alive():
            ticks += 1
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert ticks > 10
    # One call computes the whole prompt.
    assert longest < (last - started) / 2


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
