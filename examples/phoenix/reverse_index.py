"""Reverse index: for each link, in which web pages it is.

    python examples/phoenix/reverse_index.py [PAGES]
"""

import os
import random
import sys
from html.parser import HTMLParser

from beside import beside, folder

import mrpy

number = int(sys.argv[1]) if len(sys.argv) > 1 else 400
draw, where, paths = random.Random(1), folder(), []
for page in range(number):
    paths.append(os.path.join(where, f"page{page:04}.html"))
    targets = (int(5000 * draw.random() ** 2) for _ in range(300))
    items = (f"<li>See <a href='/pages/{target}'>this</a>.</li>\n" for target in targets)
    with open(paths[-1], "w") as file:
        file.write(f"<html><body><h1>Page {page}</h1><ul>\n{''.join(items)}</ul></body></html>\n")


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = set()

    def handle_starttag(self, tag, attributes):
        if tag == "a":
            self.found.update(value for name, value in attributes if name == "href")


def links(path):
    """The mapper: each link of a page, with the page."""
    parser = Links()
    with open(path) as file:
        parser.feed(file.read())
    return [(link, os.path.basename(path)) for link in parser.found]


def pages(link, names):
    return sorted(names)


def plain():
    found = {}
    for path in paths:
        for link, name in links(path):
            found.setdefault(link, []).append(name)
    return {link: sorted(names) for link, names in found.items()}


def parallel():
    return dict(mrpy.mapreduce(links, pages, paths))


index = beside(plain, parallel)
most = max(index, key=lambda link: (len(index[link]), link))
print(f"{len(index):,} links in {len(paths):,} pages; {most} is in {len(index[most])} of them")
