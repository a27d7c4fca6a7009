"""The report on near-duplicates: one page of HTML that needs nothing else."""

import html
import json
import pathlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from sparsenn.dedup import Duplicates

MOST_CLUSTERS = 300
MOST_MEMBERS = 20
MOST_CHARACTERS = 6000
BINS = 40

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Near-duplicates: __NAME__</title>
<style>
:root { --ink: #1c2330; --dim: #667085; --line: #d9dee7; --paper: #fff; --back: #f5f6f9; --blue: #2f6fde;
  --less: #ffd9d6; --more: #cdeccf; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --dim: #98a2b3; --line: #363d4a; --paper: #1d222b;
  --back: #14181f; --blue: #7aa7ff; --less: #6b2c2a; --more: #24512a; } }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 24px; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; }
.dim { color: var(--dim); }
.figures { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0; }
.figure, .panel, details { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; }
.figure { padding: 10px 16px; min-width: 110px; }
.figure b { display: block; font-size: 22px; }
.panel { padding: 16px; margin-bottom: 16px; }
.bar { fill: var(--blue); } .bar.out { fill: var(--line); }
label { display: flex; gap: 12px; align-items: center; flex-wrap: wrap; }
input[type=range] { flex: 1; min-width: 200px; accent-color: var(--blue); }
.ends { display: flex; justify-content: space-between; }
details { margin: 10px 0; } summary { padding: 10px 16px; cursor: pointer; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; padding: 12px 16px;
  border-top: 1px solid var(--line); }
.pair[hidden] { display: none; }
.pair > div { min-width: 0; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 320px; overflow: auto; }
del { background: var(--less); text-decoration: none; border-radius: 3px; }
ins { background: var(--more); text-decoration: none; border-radius: 3px; }
.terms { grid-column: 1 / -1; color: var(--dim); font-size: 13px; }
.term { border: 1px solid var(--line); border-radius: 10px; padding: 0 8px; margin-right: 4px; display: inline-block; }
@media (max-width: 700px) { .pair { grid-template-columns: 1fr; } }
</style>
</head>
<body>
<main>
<h1>Near-duplicates: __NAME__</h1>
<div class="dim">Every pair is verified. Similarity: __ABOUT__.</div>
<div class="figures" id="figures"></div>
<div class="panel">
<label>Threshold <input type="range" id="threshold" step="any" aria-label="Least similarity to the kept row">
<b id="shown"></b> <span class="dim" id="effect"></span></label>
<svg id="histogram" width="100%" height="120" role="img" aria-label="Pairs by similarity"></svg>
<div class="dim ends"><span id="low"></span><span>1.000</span></div>
<div class="dim">Pairs of different texts by similarity, on a scale of square roots. The slider hides rows that are less
similar to the kept one.</div>
</div>
<div id="clusters"></div>
<p class="dim" id="rest"></p>
</main>
<script type="application/json" id="data">__DATA__</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const make = (tag, name, text) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
};
const number = (n) => n.toLocaleString("en");
const slider = document.getElementById("threshold");
slider.min = data.threshold; slider.max = 1; slider.value = data.threshold;

// Words and what stands between them; the longest common subsequence of words is unmarked.
const pieces = (text) => text.match(/[\\p{L}\\p{N}_]+|[^\\p{L}\\p{N}_]+/gu) || [];
const isWord = (piece) => /[\\p{L}\\p{N}_]/u.test(piece);
function common(a, b) {
  let start = 0, end = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const n = a.length - start - end, m = b.length - start - end;
  const inA = new Set(), inB = new Set();
  for (let i = 0; i < start; i++) { inA.add(i); inB.add(i); }
  for (let i = 1; i <= end; i++) { inA.add(a.length - i); inB.add(b.length - i); }
  const best = new Uint16Array((n + 1) * (m + 1)), width = m + 1;
  for (let i = n - 1; i >= 0; i--) for (let j = m - 1; j >= 0; j--)
    best[i * width + j] = a[start + i] === b[start + j] ? best[(i + 1) * width + j + 1] + 1
      : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
  for (let i = 0, j = 0; i < n && j < m;) {
    if (a[start + i] === b[start + j]) { inA.add(start + i++); inB.add(start + j++); }
    else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) i++; else j++;
  }
  return [inA, inB];
}
function marked(parts, same, tag) {
  const box = make("div", "text");
  let at = 0;
  for (const piece of parts) {
    if (isWord(piece) && !same.has(at++)) box.append(make(tag, "", piece)); else box.append(piece);
  }
  return box;
}
const rarity = (word) => Object.hasOwn(data.counts, word) ? data.counts[word] : 1;
function sharedTerms(kept, other) {
  const mine = new Set(kept.filter(isWord).map((w) => w.toLowerCase()));
  const both = [...new Set(other.filter(isWord).map((w) => w.toLowerCase()))].filter((w) => mine.has(w));
  return both.sort((x, y) => rarity(x) - rarity(y) || y.length - x.length).slice(0, 12);
}
function side(title, box) { const node = make("div"); node.append(make("div", "dim", title), box); return node; }
function showPair(cluster, member) {
  const a = pieces(cluster.text), b = pieces(member.text), lower = (p) => p.filter(isWord).map((w) => w.toLowerCase());
  const [inA, inB] = common(lower(a), lower(b));
  const pair = make("div", "pair");
  pair.dataset.similarity = member.similarity === null ? "" : member.similarity;
  const score = member.similarity === null ? "through a chain" : "similarity " + member.similarity.toFixed(3);
  pair.append(side("row " + cluster.row + ", kept", marked(a, inA, "del")),
    side("row " + member.row + ", " + score, marked(b, inB, "ins")));
  const terms = make("div", "terms", "shared: ");
  for (const word of sharedTerms(a, b)) terms.append(make("span", "term", word));
  pair.append(terms);
  return pair;
}
const passes = (member, t) => member.similarity === null || member.similarity >= t - 1e-9;
const boxes = data.clusters.map((cluster) => {
  const box = make("details"), summary = make("summary");
  box.append(summary);
  box.addEventListener("toggle", () => {
    if (box.open && !box.filled) {
      box.filled = true;
      for (const member of cluster.members) box.append(showPair(cluster, member));
      if (cluster.more) box.append(make("div", "pair dim", number(cluster.more) + " more rows are not shown"));
      update();
    }
  });
  document.getElementById("clusters").append(box);
  return [cluster, box, summary];
});
function figure(value, name) {
  const node = make("div", "figure");
  node.append(make("b", "", number(value)), make("span", "dim", name));
  document.getElementById("figures").append(node);
}
for (const [name, value] of data.figures) figure(value, name);
function drawHistogram(t) {
  const svg = document.getElementById("histogram"), most = Math.max(1, ...data.histogram.map(Math.sqrt));
  svg.replaceChildren();
  svg.setAttribute("viewBox", "0 0 1000 120");
  svg.setAttribute("preserveAspectRatio", "none");
  const step = 1000 / data.histogram.length;
  data.histogram.forEach((count, k) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect"), high = Math.sqrt(count) / most * 110;
    const low = data.threshold + k / data.histogram.length * (1 - data.threshold);
    bar.setAttribute("x", k * step + 1); bar.setAttribute("width", step - 2);
    bar.setAttribute("y", 118 - high); bar.setAttribute("height", count ? Math.max(high, 2) : 1);
    bar.setAttribute("class", low >= t - 1e-9 ? "bar" : "bar out");
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    title.textContent = number(count) + " pairs from " + low.toFixed(3);
    bar.append(title); svg.append(bar);
  });
}
document.getElementById("low").textContent = data.threshold.toFixed(3);
function update() {
  const t = Number(slider.value);
  document.getElementById("shown").textContent = t.toFixed(3);
  document.getElementById("effect").textContent =
    number(data.similarities.filter((s) => s === null || s >= t - 1e-9).length) + " rows have a kept one this similar";
  for (const [cluster, box, summary] of boxes) {
    const there = cluster.members.filter((member) => passes(member, t)).length;
    box.hidden = there === 0;
    const head = cluster.text.slice(0, 140).replace(/\\s+/g, " ");
    summary.textContent = number(there + 1 + (cluster.more || 0)) + " rows: " + (head || "(empty)");
    for (const pair of box.querySelectorAll(".pair[data-similarity]"))
      pair.hidden = pair.dataset.similarity !== "" && Number(pair.dataset.similarity) < t - 1e-9;
  }
  drawHistogram(t);
}
slider.addEventListener("input", update);
if (data.hidden) document.getElementById("rest").textContent =
  number(data.hidden) + " further clusters are not shown: the largest, and those of the least similar rows, are.";
update();
if (boxes.length) boxes[0][1].open = true;
document.body.dataset.ready = "yes";
</script>
</body>
</html>
"""


def report_page(found: Duplicates, texts: Sequence[str], name: str, about: str) -> str:
    """HTML of a report.

    Parameters
    ----------
    found : Duplicates
    texts : sequence of str
        A text for each row.
    name : str
        What to call the data.
    about : str
        What the similarity is, in words.
    """
    similarity = found.similarity
    clusters = found.clusters
    # exact copies teach little: first the clusters with different texts, the largest first
    clusters.sort(key=lambda rows: (-int(np.sum(~(similarity[rows[1:]] >= 1.0))), -len(rows), rows[0]))
    shown = [_cluster(rows, texts, similarity) for rows in clusters[:MOST_CLUSTERS]]
    removed = len(found.duplicate_of) - len(found.keep)
    others = found.duplicate_of != np.arange(len(similarity))
    histogram, _ = np.histogram(found.group_similarities, bins=BINS, range=(min(found.threshold, 1 - 1e-6), 1.0))
    data = {
        "threshold": found.threshold,
        "figures": [
            ("rows", len(similarity)),
            ("kept", len(found.keep)),
            ("exact copies", found.n_exact),
            ("near-duplicates", removed - found.n_exact),
            ("clusters", len(clusters)),
        ],
        "clusters": shown,
        "hidden": len(clusters) - len(shown),
        "histogram": histogram.tolist(),
        "similarities": [_rounded(s) for s in similarity[others]],
        "counts": _counts(shown),
    }
    packed = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    page = PAGE.replace("__NAME__", html.escape(name)).replace("__ABOUT__", html.escape(about))
    return page.replace("__DATA__", packed)


def write_report(path: str | pathlib.Path, found: Duplicates, texts: Sequence[str], name: str, about: str) -> None:
    """Write the report to a file."""
    pathlib.Path(path).write_text(report_page(found, texts, name, about), encoding="utf-8", errors="replace")


def _rounded(similarity: float) -> float | None:
    return None if np.isnan(similarity) else round(float(similarity), 6)


def _cluster(rows: Any, texts: Sequence[str], similarity: Any) -> dict[str, Any]:
    """One cluster: the kept row, and the others, the least similar first."""
    kept, *others = rows.tolist()
    others.sort(key=lambda row: (not np.isnan(similarity[row]), similarity[row], row))
    members = [
        {"row": row, "similarity": _rounded(similarity[row]), "text": texts[row][:MOST_CHARACTERS]}
        for row in others[:MOST_MEMBERS]
    ]
    more = max(len(others) - MOST_MEMBERS, 0)
    return {"row": kept, "text": texts[kept][:MOST_CHARACTERS], "members": members, "more": more}


def _counts(clusters: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many of the shown clusters have a word in a row, where more than one has; words are those of the page."""
    counts: Counter[str] = Counter()
    for cluster in clusters:
        texts = [cluster["text"], *(member["text"] for member in cluster["members"])]
        counts.update({word.lower() for text in texts for word in re.findall(r"\w+", text)})
    return {word: count for word, count in counts.items() if count > 1}
