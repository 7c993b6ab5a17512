"""A few samples of many."""

import numpy as np
import pytest
from autoquant.evaluators.feeds import Input
from autoquant.tuner.calibration.draw import draw

BATCHED, FIXED = [Input("x", "float32", ("n", 2))], [Input("x", "float32", (3, 2))]


def feeds(sizes):
    values = np.arange(2 * sum(sizes), dtype=np.float32).reshape(-1, 2)
    return [{"x": part} for part in np.split(values, np.cumsum(sizes)[:-1])]


def rows(found):
    return np.concatenate([feed["x"][:, 0] for feed in found]) // 2


@pytest.mark.parametrize("sizes", [[1] * 20, [20], [7, 1, 12]])
def test_as_many_as_wanted_in_order_and_the_same_again(sizes):
    found = rows(draw(feeds(sizes), BATCHED, 20, 6, 0))
    assert len(set(found)) == 6
    assert (np.diff(found) > 0).all()
    np.testing.assert_array_equal(found, rows(draw(feeds([5] * 4), BATCHED, 20, 6, 0)))
    assert set(found) != set(rows(draw(feeds(sizes), BATCHED, 20, 6, 1)))


def test_all_where_there_are_no_more_and_the_first_where_nobody_counted():
    np.testing.assert_array_equal(rows(draw(feeds([3, 2]), BATCHED, 5, 9, 0)), range(5))
    np.testing.assert_array_equal(rows(draw(feeds([3, 3]), BATCHED, 0, 4, 0)), range(4))


def test_a_feed_that_cannot_be_divided_comes_whole():
    found = draw(feeds([3] * 10), FIXED, 30, 2, 0)
    assert 1 <= len(found) <= 2
    assert all(feed["x"].shape == (3, 2) for feed in found)
