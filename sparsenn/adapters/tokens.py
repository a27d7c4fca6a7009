r"""Compiled counting of the terms of texts: words, characters, and runs of them.

Texts come as one buffer of UTF-8, lowered already. A text becomes segments of units: words (all in one segment),
characters (the same), or the characters of each word between two spaces. A term is a run of units, its bytes a span
of one buffer: it is hashed, and found or added in an open table. So words are what ``(?u)\b\w\w+\b`` finds, and
terms those of scikit-learn's analyzers of the same names. "multilingual" is ours: words keep their combining marks, and
in scripts that put no spaces between words, each two characters that follow each other are a word.
"""

import functools
import unicodedata
from collections import namedtuple

import numpy as np
import numpy.typing as npt

from sparsenn._jit import entry, kernel, maker

WORD, SPACE, MARK, DENSE = 1, 2, 4, 8  # classes of characters; DENSE: letters of scripts without spaces
WORDS, WORDS_OF_ALL, CHARS, CHARS_OF_WORDS = 0, 1, 2, 3  # analyzers
ANALYZERS = {"word": WORDS, "char": CHARS, "char_wb": CHARS_OF_WORDS, "multilingual": WORDS_OF_ALL}
LEARN, KNOWN, HASHED = 0, 1, 2  # terms are added to the table; only those in it count; columns are hashes
ASSIGNED = 0x40000  # no letter, digit or space stands in the planes above (a test looks)

SCRIPTS = (  # blocks of Unicode of scripts that put no spaces between words
    *((0x0E00, 0x0E7F), (0x0E80, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F)),
    *((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x303C), (0x3400, 0x4DBF), (0x4E00, 0x9FFF)),
    *((0xF900, 0xFAFF), (0x20000, 0x3FFFF)),  # Thai, Lao, Myanmar, Khmer; Han
    *((0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F)),  # Hiragana and Katakana
)

# `slots` hold numbers of terms, −1: none; term t is pool[offsets[t] : offsets[t + 1]]; `size` holds how many there are.
Table = namedtuple("Table", "slots hashes offsets pool size")
# Texts as units: `buffer` bytes, where units begin and end in it, where segments begin among the units.
Units = namedtuple("Units", "buffer starts stops segments")


@functools.cache
def character_classes(beyond_ascii: bool = True) -> npt.NDArray[np.uint8]:
    r"""Class of each code point, as `re` sees ``\w`` and ``\s``."""
    every = [chr(i) for i in range(ASSIGNED if beyond_ascii else 128)]
    return np.array([WORD * (c.isalnum() or c == "_") + SPACE * c.isspace() for c in every], np.uint8)


@functools.cache
def dense_letters() -> npt.NDArray[np.bool_]:
    """Whether each code point is a letter of a script that puts no spaces between words."""
    found = np.zeros(ASSIGNED, np.bool_)
    for first, last in SCRIPTS:
        found[first : last + 1] = [c.isalnum() and not c.isdecimal() for c in map(chr, range(first, last + 1))]
    return found


@functools.cache
def multilingual_classes() -> npt.NDArray[np.uint8]:
    """Class of each code point, marks that combine and letters of scripts without spaces told apart."""
    marks = [unicodedata.category(chr(i)) in ("Mn", "Mc") for i in range(ASSIGNED)]
    dense = dense_letters()
    return np.where(dense, DENSE, np.where(marks, MARK, character_classes())).astype(np.uint8)


def empty_table() -> Table:
    """A table without terms."""
    return Table(
        np.full(1024, -1, np.int32),
        np.zeros(512, np.uint32),
        np.zeros(513, np.int64),
        np.zeros(4096, np.uint8),
        np.zeros(1, np.int64),
    )


@kernel
def code_point(text, at, classes):
    """Class of the character at a byte, and its bytes."""
    first = np.int64(text[at])
    if first < 0x80:
        return classes[first], 1
    if first < 0xE0:
        point, n = first & 0x1F, 2
    elif first < 0xF0:
        point, n = first & 0x0F, 3
    else:
        point, n = first & 0x07, 4
    for t in range(1, n):
        point = (point << 6) | (np.int64(text[at + t]) & 0x3F)
    return (classes[point] if point < classes.shape[0] else np.uint8(0)), n


@kernel
def murmur(text, a, n):
    """MurmurHash3 (x86, 32 bits, seed 0) of n bytes."""
    h = np.uint32(0)
    whole = n // 4
    for t in range(whole):
        s = a + 4 * t
        k = np.uint32(text[s]) | np.uint32(text[s + 1]) << np.uint32(8)
        k = np.uint32(k | np.uint32(text[s + 2]) << np.uint32(16) | np.uint32(text[s + 3]) << np.uint32(24))
        k = np.uint32(k * np.uint32(0xCC9E2D51))
        k = np.uint32(k << np.uint32(15)) | np.uint32(k >> np.uint32(17))
        h = np.uint32(h ^ np.uint32(k * np.uint32(0x1B873593)))
        h = np.uint32(h << np.uint32(13)) | np.uint32(h >> np.uint32(19))
        h = np.uint32(h * np.uint32(5) + np.uint32(0xE6546B64))
    k = np.uint32(0)
    for t in range(n - 1, 4 * whole - 1, -1):
        k = np.uint32(k << np.uint32(8)) | np.uint32(text[a + t])
    k = np.uint32(k * np.uint32(0xCC9E2D51))
    k = np.uint32(k << np.uint32(15)) | np.uint32(k >> np.uint32(17))
    h = np.uint32(h ^ np.uint32(k * np.uint32(0x1B873593)))
    h = np.uint32(h ^ np.uint32(n))
    h = np.uint32(np.uint32(h ^ h >> np.uint32(16)) * np.uint32(0x85EBCA6B))
    h = np.uint32(np.uint32(h ^ h >> np.uint32(13)) * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ h >> np.uint32(16))


@kernel
def find(table, text, a, n, h):
    """Number of a term, or −1 − the free slot where it would stand."""
    mask = np.int64(table.slots.shape[0] - 1)
    slot = np.int64(h) & mask
    while table.slots[slot] >= 0:
        term = table.slots[slot]
        begin = table.offsets[term]
        if table.hashes[term] == h and table.offsets[term + 1] - begin == n:
            same = True
            for t in range(n):
                if table.pool[begin + t] != text[a + t]:
                    same = False
                    break
            if same:
                return np.int64(term)
        slot = (slot + 1) & mask
    return -1 - slot


@maker
def with_slots(hashes, n_terms, n_slots):
    """Slots of terms that all differ."""
    slots = np.empty(n_slots, np.int32)
    for slot in range(n_slots):  # no np.full, no slices: they take a second to compile
        slots[slot] = -1
    for term in range(n_terms):
        slot = np.int64(hashes[term]) & (n_slots - 1)
        while slots[slot] >= 0:
            slot = (slot + 1) & (n_slots - 1)
        slots[slot] = term
    return slots


@maker
def longer(array, n):
    """The same values with room for n."""
    more = np.empty(max(n, 2 * array.shape[0]), array.dtype)
    for t in range(array.shape[0]):
        more[t] = array[t]
    return more


@maker
def with_room(table, n):
    """The table with room for one more term of n bytes."""
    size = table.size[0]
    slots, hashes, offsets, pool = table.slots, table.hashes, table.offsets, table.pool
    if 2 * (size + 1) > slots.shape[0]:
        slots = with_slots(hashes, size, 2 * slots.shape[0])
    if size + 1 > hashes.shape[0]:
        hashes, offsets = longer(hashes, 0), longer(offsets, 2 * hashes.shape[0] + 1)
    if offsets[size] + n > pool.shape[0]:
        pool = longer(pool, offsets[size] + n)
    return Table(slots, hashes, offsets, pool, table.size)


@kernel
def add(table, text, a, n, h):
    """Add a term for which there is room."""
    term = table.size[0]
    slot = -1 - find(table, text, a, n, h)
    begin = table.offsets[term]
    for t in range(n):
        table.pool[begin + t] = text[a + t]
    table.slots[slot], table.hashes[term], table.offsets[term + 1] = term, h, begin + n
    table.size[0] = term + 1
    return term


@kernel
def put_unit(text, begin, stop, stops, copied, units, n, used):
    """One more unit, text[begin:stop], unless it is a stop word: how many there are, and bytes used."""
    length = stop - begin
    if stops.size[0] > 0 and find(stops, text, begin, length, murmur(text, begin, length)) >= 0:
        return n, used
    if copied:
        for t in range(length):
            units.buffer[used + t] = text[begin + t]
        begin, used = used, used + length + 1
        units.buffer[used - 1] = 32
    units.starts[n], units.stops[n] = begin, begin + length
    return n + 1, used


@kernel
def split_words(text, a, b, classes, least, stops, copied, units):
    """Words of text[a:b] as units. `copied`: one after the other with a space between, else where they are."""
    n = np.int64(0)
    used = np.int64(0)
    at = a
    while at < b:
        begin, chars = at, 0
        step = 1
        while at < b:
            kind, step = code_point(text, at, classes)
            if not kind & WORD:
                break
            chars += 1
            at += step
        length = at - begin
        at += step
        if chars < least:
            continue
        n, used = put_unit(text, begin, begin + length, stops, copied, units, n, used)
    units.segments[0], units.segments[1] = np.int64(0), n
    return np.int64(1)


@kernel
def character_end(text, at, b, classes):
    """Where the marks that follow a character end."""
    while at < b:
        kind, step = code_point(text, at, classes)
        if not kind & MARK:
            break
        at += step
    return at


@kernel
def split_all(text, a, b, classes, least, stops, copied, units):
    """Words of text[a:b], marks included, and pairs of characters of scripts without spaces (one that stands alone)."""
    n, used = np.int64(0), np.int64(0)
    at = a
    while at < b:
        kind, step = code_point(text, at, classes)
        begin = at
        if kind & WORD:
            chars = 0
            while at < b:
                kind, step = code_point(text, at, classes)
                if not kind & (WORD | MARK):
                    break
                chars += 1
                at += step
            if chars >= least:
                n, used = put_unit(text, begin, at, stops, copied, units, n, used)
        elif kind & DENSE:
            at = character_end(text, at + step, b, classes)
            last, alone = begin, True
            while at < b:
                kind, step = code_point(text, at, classes)
                if not kind & DENSE:
                    break
                end = character_end(text, at + step, b, classes)
                n, used = put_unit(text, last, end, stops, copied, units, n, used)
                last, at, alone = at, end, False
            if alone:
                n, used = put_unit(text, begin, at, stops, copied, units, n, used)
        else:
            at += step
    units.segments[0], units.segments[1] = np.int64(0), n
    return np.int64(1)


@kernel
def split_chars(text, a, b, classes, units):
    """Characters of text[a:b], each run of two or more spaces as one space."""
    n = np.int64(0)
    used = np.int64(0)
    spaces = np.int64(0)  # in the run that ends here
    at = a
    while at < b:
        kind, step = code_point(text, at, classes)
        spaces = spaces + 1 if kind & SPACE else 0
        if spaces >= 2:
            used = np.int64(units.starts[n - 1])
            n -= 1
        units.starts[n] = used
        if spaces >= 2:
            units.buffer[used] = 32
            used += 1
        else:
            for t in range(step):
                units.buffer[used + t] = text[at + t]
            used += step
        units.stops[n] = used
        n += 1
        at += step
    units.segments[0], units.segments[1] = np.int64(0), n
    return np.int64(1)


@kernel
def split_chars_of_words(text, a, b, classes, units):
    """Characters of each run of text[a:b] without spaces, between two spaces; a segment for each."""
    n = np.int64(0)
    used = np.int64(0)
    n_segments = np.int64(0)
    units.segments[0] = 0
    at = a
    while at < b:
        kind, step = code_point(text, at, classes)
        if kind & SPACE:
            at += step
            continue
        units.buffer[used] = 32
        units.starts[n], units.stops[n] = used, used + 1
        n, used = n + 1, used + 1
        while at < b:
            kind, step = code_point(text, at, classes)
            if kind & SPACE:
                break
            for t in range(step):
                units.buffer[used + t] = text[at + t]
            units.starts[n], units.stops[n] = used, used + step
            n, used, at = n + 1, used + step, at + step
        units.buffer[used] = 32
        units.starts[n], units.stops[n] = used, used + 1
        n, used = n + 1, used + 1
        n_segments += 1
        units.segments[n_segments] = n
    return n_segments


@kernel
def split(text, a, b, classes, analyzer, least, stops, copied, units):
    """Units of text[a:b]; returns the number of segments."""
    if analyzer == WORDS:
        return split_words(text, a, b, classes, least, stops, copied, units)
    if analyzer == WORDS_OF_ALL:
        return split_all(text, a, b, classes, least, stops, copied, units)
    if analyzer == CHARS:
        return split_chars(text, a, b, classes, units)
    return split_chars_of_words(text, a, b, classes, units)


@kernel
def hashed_column(h, n_columns):
    """The absolute value of the signed hash, modulo the columns; as scikit-learn."""
    return (np.int64(h) if h < 0x80000000 else 0x100000000 - np.int64(h)) % n_columns


@maker
def nowhere(places, n):
    """The places with room for n terms, the new ones −1."""
    more = longer(places, n)
    for t in range(places.shape[0], more.shape[0]):
        more[t] = -1
    return more


@maker
def room_for_units(analyzer, longest, copied, text):
    """Memory for the units of a text of `longest` bytes."""
    buffer = np.empty(3 * longest + 2, np.uint8) if copied else text
    width = 3 * longest + 2 if analyzer == CHARS_OF_WORDS else longest + 2  # each word with two spaces
    return Units(buffer, np.empty(width, np.int64), np.empty(width, np.int64), np.empty(longest + 2, np.int64))


@entry
def count_texts(text, bounds, classes, analyzer, least, low, high, stops, table, mode, n_columns):
    """Terms of texts: where each text's terms begin, terms and counts (with room to spare), and the table of terms.

    Runs of `low` to `high` units. Text i is ``text[bounds[i] : bounds[i + 1] − 1]``. With LEARN, each term of a text
    stands once, in the order of its first occurrence; else every occurrence that is known stands for itself.
    """
    n_texts = bounds.shape[0] - 1
    longest = np.int64(0)
    for i in range(n_texts):
        longest = max(longest, bounds[i + 1] - bounds[i])
    copied = analyzer >= CHARS or high > 1
    units = room_for_units(analyzer, longest, copied, text)
    starts = np.empty(n_texts + 1, np.int64)
    terms = np.empty(max(bounds[n_texts] // 4, 16), np.int32)
    counts = np.empty(terms.shape[0] if mode == LEARN else 0, np.int32)
    places = nowhere(np.empty(0, np.int64), table.hashes.shape[0] if mode == LEARN else 0)  # last counted there
    used = np.int64(0)
    for i in range(n_texts):
        starts[i] = used
        n_segments = split(text, bounds[i], bounds[i + 1] - 1, classes, analyzer, least, stops, copied, units)
        for s in range(n_segments):
            first, last = units.segments[s], units.segments[s + 1]
            # a padded word shorter than a run counts once, whole, and no longer runs of it
            longest_run = min(high, max(low, last - first)) if analyzer == CHARS_OF_WORDS else high
            for run in range(low, longest_run + 1):
                n = min(run, last - first) if analyzer == CHARS_OF_WORDS else run
                if used + last - first > terms.shape[0]:
                    terms = longer(terms, used + last - first)
                    counts = longer(counts, terms.shape[0]) if mode == LEARN else counts
                for t in range(first, last - n + 1):
                    begin = units.starts[t]
                    length = units.stops[t + n - 1] - begin
                    h = murmur(units.buffer, begin, length)
                    if mode != LEARN:
                        known = find(table, units.buffer, begin, length, h) if mode == KNOWN else np.int64(0)
                        terms[used] = known if mode == KNOWN else hashed_column(h, n_columns)
                        used += known >= 0
                        continue
                    term = find(table, units.buffer, begin, length, h)
                    if term < 0:
                        table = with_room(table, length)
                        term = add(table, units.buffer, begin, length, h)
                        places = nowhere(places, table.hashes.shape[0]) if term >= places.shape[0] else places
                    if places[term] >= starts[i]:
                        counts[places[term]] += 1
                    else:
                        terms[used], counts[used], places[term] = term, 1, used
                        used += 1
    starts[n_texts] = used
    return starts, terms, counts, table


@entry
def merge_terms(table, other):
    """Add the terms of another table: the table, and the number that each of them has in it."""
    numbers = np.empty(other.size[0], np.int32)
    for t in range(other.size[0]):
        begin = other.offsets[t]
        n, h = other.offsets[t + 1] - begin, other.hashes[t]
        term = find(table, other.pool, begin, n, h)
        if term < 0:
            table = with_room(table, n)
            term = add(table, other.pool, begin, n, h)
        numbers[t] = term
    return table, numbers


@entry
def index_terms(pool, offsets):
    """Table of terms given one after the other."""
    n = offsets.shape[0] - 1
    hashes = np.empty(max(n, 1), np.uint32)
    for t in range(n):
        hashes[t] = murmur(pool, offsets[t], offsets[t + 1] - offsets[t])
    n_slots = 16
    while n_slots < 2 * (n + 1):
        n_slots *= 2
    return Table(with_slots(hashes, n, n_slots), hashes, offsets, pool, np.full(1, n, np.int64))
