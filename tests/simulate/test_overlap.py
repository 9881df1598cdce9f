"""A run in one thread or in several: the same items, the same errors."""

import pytest

from hmsim.simulate import overlap


@pytest.fixture(params=[1, 2])
def threads(request, monkeypatch):
    monkeypatch.setattr(overlap, "threads", lambda: request.param)
    return request.param


def test_items_come_in_order_and_no_earlier_than_asked_for_in_one_thread(threads):
    made = []

    def items():
        for i in range(5):
            made.append(i)
            yield i

    seen = []
    for item in overlap.ahead(items()):
        seen.append(item)
        assert threads == 2 or made == seen
    assert seen == made == list(range(5))


def test_work_answers_or_raises_through_its_future(threads):
    def work(fail):
        if fail:
            raise ValueError("no")
        return 7

    with overlap.pool() as pool:
        good, bad = pool.submit(work, False), pool.submit(work, fail=True)
    assert good.result() == 7
    with pytest.raises(ValueError, match="no"):
        bad.result()
