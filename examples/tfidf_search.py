"""Search texts by TF-IDF and cosine: the verses of the Zen of Python, and the docstrings of a module."""

import codecs
import contextlib
import inspect
import io
import statistics

from sklearn.feature_extraction.text import TfidfVectorizer

import sparsenn as sn

with contextlib.redirect_stdout(io.StringIO()):
    import this

texts = codecs.decode(this.s, "rot13").splitlines()
texts += [inspect.getdoc(f).splitlines()[0] for _, f in inspect.getmembers(statistics, inspect.isfunction) if f.__doc__]

vectorizer = TfidfVectorizer(sublinear_tf=True)
X = vectorizer.fit_transform(texts)
index = sn.Index(metric="cosine", n_neighbors=1).fit(X)
print(index)

for question in ("is simple better", "the middle value of the data", "hard to explain"):
    indices, distances = index.query(vectorizer.transform([question]), k=2)
    print(f"\n{question}?")
    for i, distance in zip(indices[0], distances[0], strict=True):
        print(f"  {distance:.2f}  {texts[i]}")

nearest, distances = index.neighbor_graph
i = distances[:, 0].argmin()
print(f"\nMost alike, at {distances[i, 0]:.2f}:\n  {texts[i]}\n  {texts[nearest[i, 0]]}")
