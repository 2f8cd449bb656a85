"""What a loss may see."""

from __future__ import annotations

import copy
import pickle

import pytest

import mlo
from mlo.view import View


@pytest.fixture
def view():
    return View("w", {"w": 1, "x@2": 2}, {"net": "w"})


def test_both_ways_are_the_same(view):
    assert view.w == view["w"] == 1
    assert view["x@2"] == 2


def test_an_alias_is_a_further_name(view):
    assert view.net == view["net"] == view.w
    again = view.renamed({"second": "x@2"})
    assert (again.second, again.net, again.w) == (2, 1, 1)
    assert "second" not in view


def test_what_can_be_seen(view):
    assert [name in view for name in ("w", "net", "x@2", "zz", 3)] == [True, True, True, False, False]
    assert repr(view) == "View of 'w': w, x@2"


def test_everything_else_is_an_error_that_lists_what_there_is(view):
    for use in (lambda: view.zz, lambda: view["zz"]):
        with pytest.raises(mlo.ReadError, match=r"'w' uses 'zz'.*it sees 'net', 'w', 'x@2'.*add it to reads of 'w'"):
            use()


def test_an_unknown_name_is_a_missing_attribute(view):
    # So that hasattr, getattr with a default, copying and pickling behave as they do for any object.
    assert not hasattr(view, "zz")
    assert getattr(view, "zz", 7) == 7
    with pytest.raises(AttributeError):
        _ = view.__wrapped__
    assert copy.copy(view).w == 1
    assert pickle.loads(pickle.dumps(view)).net == 1


def test_a_view_cannot_be_written_to(view):
    with pytest.raises(AttributeError):
        view.zz = 3
    with pytest.raises(TypeError):
        view["w"] = 3


@pytest.mark.parametrize("name", ["renamed", "_values", "__class__"])
def test_a_name_that_would_hide_a_problem_is_refused(name):
    with pytest.raises(mlo.GraphError, match=f"problem '{name}': .*choose another name"):
        mlo.Problem(name, lambda v, b: 0, {})
