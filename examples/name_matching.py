"""Match names that people spell in their own way, by pieces of three letters.

python examples/name_matching.py                (a few names)
python examples/name_matching.py FILE COLUMN    (a file of names; each is looked for with a letter missing)
"""

import sys

import numpy as np

import sparsenn as sn
from sparsenn.adapters import read_texts

NAMES = [
    "International Business Machines Corp",
    "Apple Inc.",
    "Alphabet Inc.",
    "Johnson & Johnson",
    "Procter & Gamble Co",
    "Berkshire Hathaway Inc",
    "Bank of America Corp",
    "Bank of New York Mellon Corp",
    "General Electric Co",
    "General Motors Co",
    "Société Générale",
    "Nestlé S.A.",
]


def main(file: str | None = None, column: str | None = None) -> None:
    names = list(dict.fromkeys(read_texts(file, column))) if file else NAMES
    index = sn.TextIndex(analyzer="char_wb", ngram_range=(3, 3), strip_accents=True).fit(names)

    generator = np.random.default_rng(0)
    sample = generator.choice(len(names), min(len(names), 1000), replace=False)
    places = [int(generator.integers(len(names[i]))) for i in sample]
    typed = [names[i][:at] + names[i][at + 1 :] for i, at in zip(sample, places, strict=True)]
    found = index.query(typed, k=1).indices[:, 0]
    print(f"{np.mean(found == sample):.1%} of {len(typed):,} names with a letter missing find their own first\n")

    for text in ("Societe Generale SA", "bank of amrica", "genral motor company", "nestle"):
        hits = index.search(text, k=2, explain=True)
        print(f"{text:24} -> " + "; ".join(f"{hit.text} ({hit.score:.2f})" for hit in hits))
        if hits:
            pieces = ", ".join(repr(term) for term, _ in hits[0].terms[:6])
            print(f"{'':24}    for {pieces}")


if __name__ == "__main__":
    main(*sys.argv[1:])
