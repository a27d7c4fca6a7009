"""Find near-duplicate texts, keep one of each, and link records of two tables."""

import sparsenn as sn

texts = [
    "The committee approved the budget for the coming year on Monday evening.",
    "A storm is expected to reach the coast by the weekend.",
    "The committee approved the budget for the coming year on Monday evening!",
    "The committee has approved the budget for the coming year on Monday evening.",
    "A storm is expected to reach the coast by the weekend, forecasters said.",
]


def main():
    found = sn.near_duplicates(texts, threshold=0.5, keep="longest")
    print(found)
    for rows in found.clusters:
        print(f"\nkept {rows[0]}: {texts[rows[0]]}")
        for row in rows[1:]:
            print(f"  {found.similarity[row]:.2f} {row}: {texts[row]}")
    strict = found.rethreshold(0.9)
    print(f"\nat 0.9, without a new join: {len(strict.keep)} of {len(texts)} rows are kept")

    ours = {"name": ["Sony Turntable PSLX350H", "Bose Acoustimass 5 speakers"]}
    theirs = {"name": ["Bose Acoustimass-5 Speaker System", "Linksys switch", "Sony PS-LX350H turntable"]}
    links = sn.link(ours, theirs, on="name", threshold=0.3)
    for i, j, score in zip(links.i, links.j, links.score, strict=True):
        print(f"{score:.2f}  {ours['name'][i]}  =  {theirs['name'][j]}")


if __name__ == "__main__":
    main()
