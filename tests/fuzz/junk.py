"""Values that do not belong where they are put, and texts that are not what they should be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

HUGE = [10**9, 10**18, 10**30, 10**400, -(10**400), 2**31, 2**53 + 1, 2**63, 1e308, -1e308, 5e-324]
NUMBERS = [0, 1, 2, 3, -1, 0.5, -0.0, 1.0, 1e-9, math.nan, math.inf, -math.inf, *HUGE]
WORDS = [
    "",
    " ",
    "x",
    "auto",
    "None",
    "nan",
    "-1",
    "1e999",
    "0x10",
    "\u00fc\u4e2d\U0001f600",
    "a b",
    "a\nb",
    "\x00",
    "--x",
    "../..",
]
WORDS += ["a" * 5000, "\ud800", "True", "[]", "{}", "\u202e", "1_000", "\u0663", "none", "skip_connect", "kind"]
json_scalars = (
    st.sampled_from([None, True, False, *NUMBERS, *WORDS]) | st.text(max_size=5) | st.integers() | st.floats()
)
json_values: st.SearchStrategy[Any] = st.recursive(
    json_scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)
"""What JSON can hold, and NaN and infinity, which Python's reader takes."""
python_values = json_values | st.sampled_from(
    [
        (),
        (1,),
        (1, 2),
        ("a",),
        (None,),
        (0.5, math.nan),
        1j,
        b"x",
        object,
        Path(),
        Path("a"),
        {1},
        range(2),
        len,
        (2,) * 4000,
    ]
)


@st.composite
def mutated(draw: st.DrawFn, content: Any, values: st.SearchStrategy[Any] = json_values) -> Any:
    """Plain data with one to three changes at places anywhere in it."""
    for _ in range(draw(st.integers(1, 3))):
        content = _changed(draw, content, values)
    return content


def _changed(draw: st.DrawFn, content: Any, values: st.SearchStrategy[Any]) -> Any:
    keys = (
        list(content) if isinstance(content, dict) else list(range(len(content))) if isinstance(content, list) else []
    )
    if not keys or draw(st.integers(0, 9)) == 0:
        return draw(values) if draw(st.booleans()) else _near(draw, content)
    key, how = draw(st.sampled_from(keys)), draw(st.integers(0, 9))
    copy: Any = content.copy()
    if how == 0:
        del copy[key]
    elif how == 1 and isinstance(copy, dict):
        copy[draw(st.sampled_from(WORDS))] = draw(values)
    elif how == 2 and isinstance(copy, list):
        copy.append(draw(values))
    elif how == 3 and isinstance(copy, list):
        copy.append(copy[key])
    elif how == 4:
        copy[key] = [copy[key]]
    else:
        copy[key] = _changed(draw, copy[key], values)
    return copy


def _near(draw: st.DrawFn, leaf: Any) -> Any:
    """A value of the same kind: such a change often gives a result."""
    if isinstance(leaf, bool):
        return not leaf
    if isinstance(leaf, int):
        return leaf + draw(st.integers(-2, 2))
    if isinstance(leaf, float):
        return leaf * draw(st.sampled_from([0.5, 2.0, 1e6, 1e-6, -1.0]))
    return draw(st.sampled_from(["skip_connect", "max_pool_3x3", "sep_conv_7x7", "first", "exact", "small", leaf]))


@st.composite
def broken_bytes(draw: st.DrawFn, text: str) -> bytes:
    """A text file that was cut, overwritten, repeated, or is of another kind."""
    how, whole = draw(st.integers(0, 9)), text.encode("utf-8", "surrogatepass")
    place = draw(st.integers(0, max(0, len(whole) - 1)))
    if how <= 3:
        return whole[:place]
    if how <= 5:
        return whole[:place] + draw(st.binary(min_size=1, max_size=4)) + whole[place + 1 :]
    odd = [
        b"",
        b"\xff\xfe",
        b"\x00" * 20,
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"9" * 6000,
        b"null",
        b"{}",
        b"[]",
        b"\x80\x02c",
    ]
    if how == 6:
        return draw(st.sampled_from(odd))
    if how == 7:
        return text.encode("utf-16")
    return whole + whole if how == 8 else b"\xef\xbb\xbf" + whole
