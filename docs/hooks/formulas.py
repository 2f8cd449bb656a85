"""Formulas become MathML while the site is built: browsers show it without a script or a font from elsewhere."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

# What pymdownx.arithmatex leaves for a script in the browser, had we one.
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', flags=re.DOTALL)
_CODE = re.compile(r"<(pre|code|math)\b.*?</\1>", flags=re.DOTALL)


def typeset(page: str) -> str:
    """Replace each formula of a page by its MathML.

    Raises:
        PluginError: If a formula on lines of its own was not seen as one.
    """
    done = _FORMULA.sub(lambda found: _mathml(found[3], "block" if found[2] == "[" else "inline"), page)
    left = _CODE.sub("", done)
    if "$$" in left:
        raise PluginError(f"formulas: leave an empty line before and after $$: {left[left.index('$$') :][:80]!r}")
    return done


def _mathml(latex: str, display: str) -> str:
    known = html.unescape(latex).strip().replace("{aligned}", "{align*}")  # latex2mathml has no `aligned`
    return convert(known, display=display)
