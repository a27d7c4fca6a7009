"""The report in a real browser, and the commands about pairs."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from click.testing import CliRunner

import sparsenn as sn
from sparsenn.cli import main
from sparsenn.report import report_page, write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
TEXTS = [
    "The quick brown fox jumps over the lazy dog near the river bank today",
    "The quick brown fox jumps over the sleepy dog near the river bank today",
    "Something </script><script>alert(1)</script> & else that is like no other text at all",
    "The quick brown fox jumps over the lazy dog near the river bank today",
    "one two three four five six seven eight nine ten",
    "one two three four five six seven eight nine eleven",
    "Something </script><script>alert(1)</script> & else that is like no other text at last",
]

# What a reader does: opens a cluster, moves the slider; what is then seen goes into the page.
READER = """
<script>
addEventListener("load", () => setTimeout(() => {
  const seen = () => ({
    open: [...document.querySelectorAll("#clusters details")].map((d) => !d.hidden),
    less: [...document.querySelectorAll("#clusters del")].map((d) => d.textContent),
    more: [...document.querySelectorAll("#clusters ins")].map((d) => d.textContent),
    terms: [...document.querySelectorAll(".term")].map((d) => d.textContent),
    bars: document.querySelectorAll("#histogram rect").length,
    effect: document.getElementById("effect").textContent,
    figures: document.getElementById("figures").innerText,
    wide: document.documentElement.scrollWidth > innerWidth,
  });
  const slider = document.getElementById("threshold"), before = seen();
  slider.value = 0.9;
  slider.dispatchEvent(new Event("input"));
  const box = document.createElement("pre");
  box.id = "seen";
  box.textContent = JSON.stringify([before, seen()]);
  document.body.append(box);
}, 50));
</script>
"""


@pytest.fixture(scope="module")
def browser():
    """Path of a Chromium; skips where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium to open the report in: apt-get install chromium")
    return found


def look(browser, page, folder):
    """DOM of a page in a browser without a window, after its scripts; no network."""
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000", "--window-size=1000,900"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def test_a_reader_sees_clusters_differences_and_the_slider_works(browser, tmp_path):
    found = sn.near_duplicates(TEXTS, 0.5)
    page = tmp_path / "report.html"
    text = report_page(found, TEXTS, "some <texts>", "Jaccard")
    page.write_text(text.replace("</body>", READER + "</body>"), encoding="utf-8")
    dom = look(browser, page, tmp_path)
    before, after = json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', dom, re.S)[1]))
    assert 'data-ready="yes"' in dom
    assert before["open"] == [True] * 3
    assert before["less"] == ["lazy"]
    assert before["more"] == ["sleepy"]
    assert "river" in before["terms"]
    assert before["bars"] == 40
    assert not before["wide"]
    assert before["effect"].startswith("4 rows")
    assert re.sub(r"\s+", " ", before["figures"]) == "7 rows 3 kept 1 exact copies 3 near-duplicates 3 clusters"
    assert after["open"].count(True) == 1  # the exact copy
    assert after["effect"].startswith("1 rows")
    assert "some &lt;texts&gt;" in dom


def test_the_page_needs_nothing_else(tmp_path):
    write_report(tmp_path / "page.html", sn.near_duplicates(TEXTS, 0.5), TEXTS, "x", "y")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=|@import|url\(|fetch\(|https?://(?!www\.w3\.org/2000/svg)", page)
    assert page.count("</script>") == 2
    assert "alert(1)</script>" not in page


def test_words_are_counted_as_the_page_reads_them():
    texts = [
        "Fox, fox-trot über_all 一二",
        "fox; fox-trot über_all 一二 dog",
        "a FOX trot dog-like (x)",
        "a FOX trot dog-like x",
    ]
    found = sn.near_duplicates(np.repeat(np.eye(2), 2, axis=0), 0.5)
    page = report_page(found, texts, "x", "y")
    counts = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])["counts"]
    assert counts == {"fox": 2, "trot": 2, "dog": 2}


def test_the_slider_reaches_one(browser, tmp_path):
    page = tmp_path / "report.html"
    look_for_most = """<script>addEventListener("load", () => { const slider = document.getElementById("threshold");
      slider.value = 1; document.body.dataset.most = slider.value; });</script></body>"""
    found = sn.near_duplicates(TEXTS, 0.805)
    page.write_text(report_page(found, TEXTS, "x", "y").replace("</body>", look_for_most), encoding="utf-8")
    assert 'data-most="1"' in look(browser, page, tmp_path)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def call(*words, code=0):
        result = CliRunner().invoke(main, [str(w) for w in words])
        assert result.exit_code == code, result.output
        assert all(len(line) <= 80 for line in result.output.splitlines() if "written" not in line)
        return result.output

    return call


def test_dedup_writes_the_rows_that_are_kept(run, tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    source, clean, page = tmp_path / "in.csv", tmp_path / "clean.parquet", tmp_path / "report.html"
    pd.DataFrame({"id": range(7), "body": TEXTS}).to_csv(source, index=False)
    output = run("dedup", source, "-c", "body", "-t", 0.5, "-o", clean, "--report", page)
    assert "7 rows, 4 removed, 3 kept (1 exact copies, 3 near-duplicates)" in output
    assert re.search(r"1 +0\.\d{3}  The quick brown fox", output)
    table = pd.read_parquet(clean)
    assert table["id"].tolist() == ["0", "2", "4"]
    assert table["body"].tolist() == [TEXTS[i] for i in (0, 2, 4)]
    assert page.stat().st_size > 5000
    for suffix in ("csv", "jsonl", "tsv"):
        run("dedup", source, "-c", "body", "-t", 0.5, "-o", tmp_path / f"out.{suffix}")
        again = run("dedup", tmp_path / f"out.{suffix}", "-c", "body", "-t", 0.5)
        assert "3 rows, 0 removed, 3 kept" in again


def test_dedup_against_another_file(run, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    (tmp_path / "b.txt").write_text(TEXTS[4], encoding="utf-8")
    output = run("dedup", tmp_path / "a.txt", "--against", tmp_path / "b.txt", "-t", 0.7, "-o", tmp_path / "c.txt")
    assert "7 rows, 2 removed, 5 kept" in output
    assert (tmp_path / "c.txt").read_text(encoding="utf-8").splitlines() == [*TEXTS[:4], TEXTS[6]]


def test_join_lists_pairs(run, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    (tmp_path / "b.txt").write_text("too short\n" + TEXTS[5], encoding="utf-8")
    output = run("join", tmp_path / "a.txt", "--threshold", 0.5, "-o", tmp_path / "pairs.csv")
    assert "pairs, written" in output
    rows = np.genfromtxt(tmp_path / "pairs.csv", delimiter=",", names=True)
    assert set(zip(rows["i"], rows["j"], strict=True)) >= {(0, 3), (0, 1), (1, 3), (4, 5)}
    output = run("join", tmp_path / "a.txt", tmp_path / "b.txt", "--top", 1)
    assert re.search(r"1\.000\s+5 .*\s1  one two", output)
    assert "1 pairs" in output
    both_ways = run("join", tmp_path / "a.txt", "-m", "tversky", "--param", "alpha=0", "--param", "beta=0", "-t", 1)
    assert int(both_ways.split()[-2]) == 2 * int(run("join", tmp_path / "a.txt", "-t", 0.01).split()[-2])
    pq = pytest.importorskip("pyarrow.parquet")
    run("join", tmp_path / "a.txt", tmp_path / "b.txt", "-o", tmp_path / "pairs.parquet")
    assert pq.read_table(tmp_path / "pairs.parquet").to_pylist() == [{"i": 5, "j": 1, "similarity": 1.0}]


def test_a_failure_leaves_the_file_that_was_there(run, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    (tmp_path / "pairs.csv").write_text("what was there", encoding="utf-8")

    def fail(path, columns):
        path.write_text("half", encoding="utf-8")
        raise OSError("no space left on device")

    monkeypatch.setattr("sparsenn.commands.write_columns", fail)
    for words in (["join", "-t", 0.5], ["dedup"], ["link", tmp_path / "a.txt"]):
        output = run(words[0], tmp_path / "a.txt", *words[1:], "-o", tmp_path / "pairs.csv", code=1)
        assert "no space left" in output
        assert (tmp_path / "pairs.csv").read_text(encoding="utf-8") == "what was there"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "pairs.csv"]


def test_link_by_columns(run, tmp_path):
    (tmp_path / "a.csv").write_text("name,price\nSony Turntable PSLX350H,5\nBose Acoustimass 5,3\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("name,price\nBose Acoustimass-5 set,3\nSony PS-LX350H turntable,5\n", "utf-8")
    (tmp_path / "known.csv").write_text("a,b\n0,1\n", encoding="utf-8")
    output = run("link", tmp_path / "a.csv", tmp_path / "b.csv", "--on", "name", "--matches", tmp_path / "known.csv")
    assert "2 links" in output
    output = run("link", tmp_path / "a.csv", tmp_path / "b.csv", "--on", "name=2", "--on", "price", "-t", 0.2,
                 "-o", tmp_path / "links.csv")  # fmt: skip
    assert "2 links with a score of at least 0.200" in output
    assert (tmp_path / "links.csv").read_text(encoding="utf-8").startswith("i,j,score")
    (tmp_path / "c.csv").write_text(
        "name\nBose set\nSony PS-LX350H turntable\nSony turntable PSLX350H\nBose set\n", "utf-8"
    )
    output = run("link", tmp_path / "c.csv", "-t", 0.4)
    assert "2 links" in output
    assert re.search(r"1\.000 +0  Bose set +3  Bose set", output)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dedup", "a.txt", "-o", "clean.xyz"], "unknown kind of file to write"),
        (["dedup", "a.txt", "-c", "body"], "has lines, no columns"),
        (["dedup", "a.txt", "--against", "a.txt", "--report", "x.html"], "--report shows the clusters of one file"),
        (["dedup", "a.txt", "-t", "1.5"], "1.5 is not in the range"),
        (["dedup", "a.txt", "--against", "a.txt", "--rule", "connected"], "--rule and --keep are about clusters"),
        (["dedup", "a.txt", "--against", "a.txt", "--keep", "longest"], "--rule and --keep are about clusters"),
        (["join", "a.txt", "-m", "tversky", "--param", "alpha=x"], "is not NAME=NUMBER"),
        (["join", "a.txt", "-m", "tversky", "--param", "gamma=1"], "tversky has no parameter 'gamma'"),
        (["link", "a.txt", "-k", "3"], "-k and --many are for two tables"),
        (["link", "a.txt", "--many"], "-k and --many are for two tables"),
        (["join", "a.txt", "-m", "euclidean"], "a distance without a similarity"),
        (["link", "a.txt", "a.txt", "--on", "name"], "name"),
        (["link", "a.txt", "a.txt", "--on", "text=much"], "is not COLUMN=WEIGHT"),
    ],
)
def test_what_cannot_be_asked(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    result = CliRunner().invoke(main, words)
    assert result.exit_code != 0
    assert message in result.output
    assert "Traceback" not in result.output
