"""Reports: what they say, that they need nothing else, and how a browser shows them."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from hmsim.cli import main
from tests.oracles import small_results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A directory with two runs and two replays."""
    folder = tmp_path_factory.mktemp("results")
    small_results.result(folder, "one.h5")
    small_results.result(folder, "two.h5", **{"workload.sparsity": "0.8"})
    for load in (0.3, 0.9):
        (folder / f"load-{load}.json").write_text(json.dumps(small_results.replay(load)))
    return folder


@pytest.fixture(scope="module")
def page(results):
    """The page about them."""
    path = results / "out" / "report.html"
    assert main(["report", str(results), "-o", str(path)]) == 0
    return path


class Balance(HTMLParser):
    """Checks that elements are closed in the order in which they were opened."""

    VOID = ("meta", "link", "br")

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_page_is_whole_and_alone(page):
    text = page.read_text()
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    for tag, attributes in parser.seen:
        for key in ("src", "href", "xlink:href"):
            target = attributes.get(key, "#")
            assert target.startswith(("#", "data:")), (tag, target)
    assert "@import" not in text
    ids = [attributes["id"] for _, attributes in parser.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#([^)]+)\)", text))
    assert used <= set(ids)


def test_page_says_what_a_reader_needs(page):
    text = page.read_text()
    for wanted in ("a small run", "static", "reactive", "optimum", "Workload of one.h5", "overlap",
                   "Lost cycles", "[workload]", "hmsim run again.toml", "hmsim 0."):  # fmt: skip
        assert wanted in text, wanted
    assert text.count("<figure") == 1 + 2 * (5 + 2) + 2


def test_markup_in_titles_stays_text(tmp_path):
    small_results.result(tmp_path, "odd.h5", title="<b>a & b</b>")
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "a.html"), "--quick"]) == 0
    assert "&lt;b&gt;a &amp; b&lt;/b&gt;" in (tmp_path / "a.html").read_text()


def test_sweep_report_lists_points_failures_and_commands(tmp_path):
    folder = small_results.sweep(tmp_path)
    assert main(["report", str(folder), "-o", str(tmp_path / "sweep.html")]) == 0
    text = (tmp_path / "sweep.html").read_text()
    assert "6 points, 0 missing, 3 failed" in text
    assert "bytes of weights" in text
    assert "hmsim run base.toml --set workload.sparsity=0.6" in text
    assert "sweep-heatmap" in text


def test_markdown_has_its_figures_beside_it(results, tmp_path):
    for name in ("one.h5", "load-0.3.json", "load-0.9.json"):
        shutil.copy(results / name, tmp_path)
    path = tmp_path / "report.md"
    assert main(["report", str(tmp_path), "-o", str(path), "--markdown", "--quick"]) == 0
    text = path.read_text()
    figures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert len(figures) == 5 + 2
    assert all((tmp_path / figure).read_text().startswith("<svg") for figure in figures)
    table = [line for line in text.splitlines() if line.startswith("| static")]
    assert table


@pytest.mark.parametrize(
    ("directory", "output", "said"),
    [("nowhere", "a.html", "no directory"), (".", "a.html", "holds no"), (".", "a.txt", "ends in")],
)
def test_wrong_calls(tmp_path, monkeypatch, capsys, directory, output, said):
    monkeypatch.chdir(tmp_path)
    assert main(["report", directory, "-o", output]) == 2
    assert said in capsys.readouterr().err


def test_incomplete_result_is_refused(tmp_path, capsys):
    import h5py

    with h5py.File(small_results.result(tmp_path).path, "a") as file:
        file.attrs["complete"] = 0
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "a.html")]) == 2
    assert "incomplete" in capsys.readouterr().err


def in_browser(page, *options: str) -> subprocess.CompletedProcess:
    general = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    general += ["--virtual-time-budget=2000", "--enable-logging=stderr"]
    command = [CHROMIUM, *general, *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_browser_opens_it_sorts_its_tables_and_shows_its_figures(page, tmp_path):
    script = """<script>
addEventListener("load", () => {
  const table = document.querySelector("table"), head = table.tHead.rows[0].cells[1];
  const column = () => [...table.tBodies[0].rows].map(row => parseFloat(row.cells[1].textContent));
  head.querySelector("button").click();
  const up = column(), sorted = [...up].sort((a, b) => a - b);
  head.querySelector("button").click();
  const down = column();
  const boxes = [...document.querySelectorAll("figure svg")].map(svg => svg.getBoundingClientRect())
    .filter(box => box.width > 0);
  document.title = JSON.stringify({
    sorted: up.join() === sorted.join() && down.join() === sorted.reverse().join() && up[0] !== down[0],
    visible: boxes.every(box => box.width > 200 && box.height > 80), figures: boxes.length,
    inside: document.documentElement.scrollWidth <= innerWidth,
    requests: performance.getEntriesByType("resource")
      .filter(each => !each.name.startsWith("data:")).length });
});
</script>"""
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", f"{script}</body>"))
    for width in ("400", "1200"):  # a phone, a desk
        done = in_browser(probed, "--dump-dom", f"--window-size={width},900")
        found = json.loads(re.search(r"<title>(\{.*?\})</title>", done.stdout)[1])
        assert found == {
            "sorted": True, "visible": True, "figures": 17, "inside": True, "requests": 0,
        }  # fmt: skip
        assert "CONSOLE" not in done.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_browser_shows_figures_as_they_are_and_paper_what_is_folded(page, tmp_path):
    """Colours in the dark are those of the legend, and letters on a phone can be read."""
    script = """<script>
addEventListener("load", () => {
  const all = selector => [...document.querySelectorAll(selector)];
  const shown = all("figure svg").filter(svg => svg.getBoundingClientRect().width > 0);
  const letters = shown.map(svg => 8 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width);
  const scrolls = all("figure").filter(each => each.scrollWidth > each.clientWidth).length;
  const open = () => all("details").filter(each => each.open).length;
  const before = open();
  dispatchEvent(new Event("beforeprint"));
  const paper = open();
  dispatchEvent(new Event("afterprint"));
  document.title = JSON.stringify({
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    filters: all("figure svg").filter(svg => getComputedStyle(svg).filter !== "none").length,
    letters: Math.min(...letters) >= 10, scrolls, half: shown.length / all("figure svg").length,
    inside: document.documentElement.scrollWidth <= innerWidth,
    open: [before, paper, open()] });
});
</script>"""
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", f"{script}</body>"))
    dark = "--blink-settings=preferredColorScheme=0"
    done = in_browser(probed, "--dump-dom", "--window-size=400,900", dark)
    found = json.loads(re.search(r"<title>(\{.*?\})</title>", done.stdout)[1])
    folded = page.read_text().count("<details>")
    assert folded > 0
    assert found == {
        "dark": True, "filters": 0, "letters": True, "scrolls": 0, "half": 0.5, "inside": True,
        "open": [0, folded, 0],
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_browser_takes_a_picture_and_prints(page, tmp_path):
    picture, paper = tmp_path / "page.png", tmp_path / "page.pdf"
    in_browser(page, f"--screenshot={picture}", "--window-size=900,2000")
    in_browser(page, f"--print-to-pdf={paper}")
    from matplotlib.image import imread

    pixels = imread(picture)
    assert pixels.shape[:2] == (2000, 900)
    assert 0.005 < (pixels[..., :3].min(axis=2) < 0.6).mean() < 0.6  # ink, and paper
    assert paper.read_bytes().startswith(b"%PDF")
    assert paper.stat().st_size > 50_000
