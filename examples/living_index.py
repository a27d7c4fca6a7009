"""An index that lives: rows come and go under ids of their own, and it is kept on disk between two runs of a service.

python examples/living_index.py
"""

import tempfile
from pathlib import Path

from sklearn.feature_extraction.text import HashingVectorizer

import sparsenn as sn

texts = {
    "note-1": "the cat sat on the mat",
    "note-2": "stock markets fell sharply on monday",
    "note-3": "a dog chased the cat around the garden",
    "note-4": "markets rose again, and stocks with them",
}
vectorizer = HashingVectorizer(n_features=2**16, alternate_sign=False)  # no vocabulary that would have to be kept


def show(index, query):
    found = index.query(vectorizer.transform([query]), k=2)
    print(f"{query!r}: {list(zip(index.ids_of(found.indices)[0], found.distances[0].round(2), strict=True))}")


def main():
    index = sn.Index(metric="cosine").fit(vectorizer.transform(texts.values()), ids=list(texts))
    show(index, "a cat in the garden")

    index.add(vectorizer.transform(["the garden of a cat"]), ids=["note-5"])
    index.update(["note-2"], vectorizer.transform(["my cat sleeps in the garden all monday"]))
    index.remove(["note-1"])
    show(index, "a cat in the garden")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notes.sn"
        index.save(path)  # a crash here would leave what was there before
        again = sn.Index.load(path, mmap=True)  # milliseconds, whatever the size; processes share the pages
        show(again, "a cat in the garden")
        again.remove(["note-5"])  # in memory, until it is saved
        again.save(path)
        print(sn.Index.load(path).ids)


if __name__ == "__main__":
    main()
