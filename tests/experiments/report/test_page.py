"""The page: what it says and links to, and that it asks for nothing from outside."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from experiments.analysis.summary import estimate
from experiments.report import page
from experiments.report.compose import report
from tests.written import run_on_record, two_episodes, write_run

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the folder of a report on RL2 and Mixreg; maps are left out, as they need agents."""
    folder = tmp_path_factory.mktemp("a folder")
    env = {"env": "nowhere.py:make"}
    rl2 = run_on_record(two_episodes(seeds=2), **env)
    write_run(folder / "rl2", rl2, [[1, 20], [2, 22]], [[0, 12], [0, 14]])
    mixreg = run_on_record(two_episodes(seeds=2, train_split="oracle"), **env)
    write_run(folder / "or|acle <b>", mixreg, [[1, 24], [2, 25]], [[0, 20], [0, 22]])
    report([folder])
    return folder


class Tags(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.asked = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        if tag == "a":
            self.links.append(given["href"])
        self.asked += [
            given[name] for name in ("src", "srcset", "data", "poster", "action") if name in given
        ]
        if tag == "link":
            self.asked.append(given["href"])


def test_the_page_asks_for_nothing(written):
    text = (written / "report.html").read_text()
    tags = Tags(text)
    assert tags.tags.count("svg") == 3
    assert {"script", "img", "iframe", "object", "embed", "b"}.isdisjoint(tags.tags)
    assert tags.asked == ["data:,"]  # the icon, which a browser would look for otherwise
    assert "default-src 'none'" in text
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert set(re.findall(r'href="([^"#]*)[#"]', text)) == {
        "",
        "data:,",
        "rl2/",
        "or%7Cacle%20%3Cb%3E/",
    }


def test_every_number_links_to_its_run(written):
    markdown = (written / "report.md").read_text()
    for line in markdown.splitlines():
        if line.startswith("| RL² |"):
            numbers = [cell for cell in line.split(" | ")[3:] if re.search(r"\d\.\d", cell)]
            assert numbers and all("](rl2/)" in cell for cell in numbers)
    tags = Tags((written / "report.html").read_text())
    assert tags.links.count("rl2/") == markdown.count("](rl2/)") > 10


def test_both_pages_hold_the_numbers(written):
    text = (written / "report.md").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "[13.0 [12.0, 14.0]](rl2/)" in text  # IQM of test returns 12, 14
    assert "[13.0 ± 1.4](rl2/)" in text
    assert "[6.0 ± 0.7](rl2/)" not in text and "[6.5 ± 0.7](rl2/)" in text  # area: (0 + 13) / 2
    assert "RL² oracle" in text
    assert "[+0.0](or%7Cacle%20%3Cb%3E/) | 1 |" in text  # goals: as many as RL2
    assert "100% [100%, 100%]" in text  # but on every task a higher return
    assert "Not significant with this number of seeds: RL² oracle." in text
    assert "running" in text
    html = (written / "report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "13.0 [12.0, 14.0]</a>" in html
    assert "<h2>Adaptation</h2>" in html


def test_names_are_no_markup():
    assert page.plain("a|b*c [d](e) <f>\n`g`") == r"a\|b\*c \[d\](e) \<f\> \`g\`"
    rendered = page.render(page.plain("<script>x</script> [a](b)"), Path())
    assert rendered == "<p>&lt;script&gt;x&lt;/script&gt; [a](b)</p>\n"


def test_one_seed_has_no_interval():
    assert page.with_interval(estimate(np.array([[1.0, 2.0, 3.0, 30.0]]))) == "2.5"
    assert page.with_deviation(estimate(np.array([[1.0, 2.0, 3.0, 30.0]]))) == "9.0"


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_finds_no_error_and_is_asked_for_nothing(written, tmp_path):
    """A network request of the page violates its policy: an error on the console."""
    assert visit(written / "report.html", tmp_path) == []
    text = (written / "report.html").read_text()
    asking = tmp_path / "asking.html"
    asking.write_text(text.replace("<svg", '<img src="https://example.invalid/a.png"><svg', 1))
    assert any("example.invalid" in line for line in visit(asking, tmp_path))


def visit(page, folder):
    """Return what a page's visit writes on the browser's console."""
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "<svg" in found.stdout
    return [line for line in found.stderr.splitlines() if "CONSOLE" in line]
