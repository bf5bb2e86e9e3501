"""Signals that end event streams, and still do what they did before."""

import asyncio
import signal
import threading

import pytest

from veupath_store.integrations.fastapi.streaming import SIGNALS, ends_with_the_process, heeding_signals


@pytest.fixture
def told():
    """The signals that an earlier handler was told of."""
    seen = []
    before = {number: signal.signal(number, lambda number, _: seen.append(number)) for number in SIGNALS}
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_ends_the_open_streams_and_reaches_the_handler_that_was_there(told, number):
    with heeding_signals():
        streams = [asyncio.create_task(asyncio.sleep(60)) for _ in range(3)]
        for stream in streams[:2]:
            ends_with_the_process(stream)
        signal.raise_signal(number)
        await asyncio.wait(streams[:2], timeout=10)
    assert [stream.cancelled() for stream in streams] == [True, True, False]
    assert told == [number]
    streams[2].cancel()


async def test_afterwards_the_earlier_handler_is_back_unless_somebody_else_has_set_one(told):
    term, interrupt = map(signal.getsignal, SIGNALS)
    with heeding_signals():
        assert signal.getsignal(SIGNALS[0]) is not term
        signal.signal(SIGNALS[1], signal.SIG_IGN)
    assert signal.getsignal(SIGNALS[0]) is term
    assert signal.getsignal(SIGNALS[1]) is signal.SIG_IGN
    assert interrupt is not signal.SIG_IGN


async def test_a_signal_that_nothing_handles_is_left_alone(told):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with heeding_signals():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_in_another_thread_nothing_is_done(told):
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    async def heed():
        with heeding_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=lambda: asyncio.run(heed()))
    thread.start()
    thread.join()
    assert seen == [before]
