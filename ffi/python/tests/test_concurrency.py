"""Threads, tasks and interrupts, and what is closed while it is used."""

import asyncio
import contextlib
import gc
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

import edgeslm
from golden import LONG, LONG_PROMPT, MODEL, QUESTION, SLOW


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
