"""Search documents by BM25 and TF-IDF, say why, and judge the answers.

python examples/document_search.py              (a few made-up documents)
python examples/document_search.py FOLDER       (corpus.jsonl.gz, queries.jsonl.gz, qrels.tsv, as BEIR has them)
"""

import gzip
import json
import sys
from pathlib import Path

import sparsenn as sn
from sparsenn.evaluation import mrr, ndcg, read_qrels, recall

SMALL = {
    "ice": "Sea ice in the Arctic melts earlier each summer, and polar bears swim farther for food.",
    "bears": "Brown bears sleep through the winter in dens, living on the fat of the summer.",
    "wine": "Grapes ripen earlier in warm summers, and the wine has more alcohol.",
    "wings": "The lift of a wing grows with the square of its speed through the air.",
    "heat": "Heat flows through the skin of a wing at high speed; thin skins melt.",
    "bees": "Bees visit more flowers in warm weather and sleep through the winter in a cluster.",
}
QUERIES = {"q1": "how do bears live through the winter", "q2": "heating of wings at high speed"}
QRELS = {"q1": {"bears": 1.0}, "q2": {"heat": 1.0, "wings": 1.0}}


def read(folder: Path) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, float]]]:
    def lines(name: str) -> list[dict[str, str]]:
        with gzip.open(folder / name, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    documents = {d["_id"]: f"{d.get('title') or ''} {d['text']}" for d in lines("corpus.jsonl.gz")}
    return documents, {q["_id"]: q["text"] for q in lines("queries.jsonl.gz")}, read_qrels(folder / "qrels.tsv")


def main(folder: str | None = None) -> None:
    documents, queries, qrels = read(Path(folder)) if folder else (SMALL, QUERIES, QRELS)
    for weighting in ("bm25", "tfidf"):
        index = sn.TextIndex(weighting, stop_words="english").fit(documents.values(), ids=documents.keys())
        answers = index.search(queries.values(), k=100)
        run = {query: [hit.id for hit in hits] for query, hits in zip(queries, answers, strict=True)}
        print(f"{weighting}: nDCG@10 {ndcg(run, qrels)}, MRR@10 {mrr(run, qrels).value:.3f}, "
              f"recall@100 {recall(run, qrels).value:.3f}")  # fmt: skip

    text = next(iter(queries.values()))
    print(f"\n{text}")
    for hit in index.search(text, k=3, explain=True):
        reasons = ", ".join(f"{term} {share:.3f}" for term, share in hit.terms[:5])
        print(f"  {hit.score:.3f}  {hit.id}: {' '.join((hit.text or '').split())[:60]}\n         because of {reasons}")
    first = next(iter(documents))
    print(f"\nmore like {first}: {', '.join(str(hit.id) for hit in index.more_like_this(first, k=3))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
