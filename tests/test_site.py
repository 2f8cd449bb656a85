"""The documentation as a site: built strictly, searchable, without a gap, and asking nothing of another host."""

import importlib.util
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
NOT_FETCHED = {"canonical", "next", "prev"}  # kinds of <link> that only name a page


class Page(HTMLParser):
    """What a page fetches, what it links to, and the places in it that can be linked to."""

    def __init__(self, path):
        super().__init__()
        self.fetched, self.links, self.places = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "id" in attrs:
            self.places.add(attrs["id"])
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        if attrs.get(FETCHED.get(tag)) and attrs.get("rel") not in NOT_FETCHED:
            self.fetched.append(attrs[FETCHED[tag]])


def hook(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_site(tmp_path):
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert built.returncode == 0, built.stderr
    pages = {path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    sources = {
        path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")
    }
    sources |= {"contributing.html", "changelog.html"}  # at the top of the repository
    assert set(pages) == sources
    assert not elsewhere(pages, site)
    assert not dangling(pages, site)
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert {entry["location"].partition("#")[0] or "index.html" for entry in index["docs"]} == sources
    text = "".join((site / name).read_text(encoding="utf-8") for name in pages)
    assert 'class="arithmatex"' not in text, "a formula is left as LaTeX"
    assert 'class="mermaid"' not in text, "a graph is left as Mermaid"


def elsewhere(pages, site):
    """What pages and styles would fetch from another host."""
    asked = [f"{name}: {url}" for name, page in pages.items() for url in page.fetched if urlsplit(url).netloc]
    for style in site.rglob("*.css"):
        asked += [f"{style.name}: {url}" for url in re.findall(r"url\(['\"]?(https?:[^)]*)", style.read_text())]
    return asked


def dangling(pages, site):
    """Links within the site that lead nowhere."""
    lost = []
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (site / name).parent / unquote(parts.path) if parts.path else site / name
            key = target.resolve().relative_to(site.resolve()).as_posix() if target.exists() else None
            if key is None or (parts.fragment and key in pages and unquote(parts.fragment) not in pages[key].places):
                lost.append(f"{name}: {link}")
    return lost


def test_a_formula_becomes_mathml():
    typeset = hook("formulas").typeset
    assert "<mfrac>" in typeset('<p><span class="arithmatex">\\(\\frac{a}{b} &lt; 1\\)</span></p>')
    assert 'display="block"' in typeset('<div class="arithmatex">\\[a = b\\]</div>')
    assert typeset("<pre><code>a $$ b</code></pre>") == "<pre><code>a $$ b</code></pre>"


def test_a_formula_that_is_not_seen_as_one_fails_the_build():
    with pytest.raises(Exception, match=r"leave an empty line before and after \$\$"):
        hook("formulas").typeset("<p>text\n$$\na = b\n$$</p>")


def test_a_graph_that_is_not_mermaid_fails_the_build():
    draw = hook("mermaid").picture
    assert "<svg" in draw("flowchart TB\n  a --> b", "mermaid", "graph", {}, None)
    with pytest.raises(Exception, match="a --x-->"):
        draw("flowchart TB\n  a --x-->", "mermaid", "graph", {}, None)
