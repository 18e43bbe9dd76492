"""`python -m bench NAME`: prints the figures of one bench as lines of JSON."""

import argparse
from collections.abc import Callable, Iterator
from typing import Final

from bench import bad_input, crawl, demo, relevance, search
from bench.figures import Figure
from bench.judging import HALVES
from commons import logging
from commons.settings import Settings

Options = argparse.Namespace
BENCHES: Final[dict[str, tuple[str | None, Callable[[Options], Iterator[Figure]]]]] = {
    "bad_input": (
        bad_input.__doc__,
        lambda options: bad_input.measure(options.listings, options.database),
    ),
    "crawl": (crawl.__doc__, lambda options: crawl.measure(options.activities, options.database)),
    "demo": (demo.__doc__, lambda _: demo.measure()),
    "relevance": (relevance.__doc__, lambda options: relevance.measure(_asked(options))),
    "search": (search.__doc__, lambda options: search.measure(options.listings, options.database)),
}


def _one_or_more(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        msg = "must be a whole number, 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _asked(options: Options) -> relevance.Asked:
    return relevance.Asked(
        options.distractors,
        halves=HALVES if options.half == "both" else (options.half,),
        indexes=tuple(options.only or relevance.INDEXES),
        misses=options.misses,
        database=options.database,
    )


def main() -> None:
    """Run the bench that is named."""
    listed = "\n".join(f"  {name}: {text}" for name, (text, _) in BENCHES.items())
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Measure, and print each figure as a line of JSON.",
        epilog=f"benches:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=BENCHES)
    of_search = parser.add_argument_group("of search and bad_input")
    of_search.add_argument(
        "--listings",
        type=_one_or_more,
        default=1_000_000,
        metavar="N",
        help="from 10,000,000 on the index is measured beside itself with a tenth of them",
    )
    of_relevance = parser.add_argument_group("of relevance")
    of_relevance.add_argument(
        "--distractors",
        type=_one_or_more,
        default=20_000,
        metavar="N",
        help="made-up listings among which the judged ones are put",
    )
    of_relevance.add_argument("--half", choices=(*HALVES, "both"), default="both")
    of_relevance.add_argument(
        "--only", action="append", choices=relevance.INDEXES, help="an index to ask; repeatable"
    )
    of_relevance.add_argument(
        "--misses", action="store_true", help="tell on stderr what was answered badly"
    )
    parser.add_argument_group("of crawl").add_argument(
        "--activities",
        type=_one_or_more,
        default=100_000,
        metavar="N",
        help="pushed activities over which memory is watched",
    )
    of_both = parser.add_argument_group("of search, bad_input, relevance and crawl")
    of_both.add_argument(
        "--database",
        metavar="URL",
        help="postgresql+psycopg2://… with PostGIS, on whose server the peers, and what crawl "
        "measures, get a database; else a server is started for the peers, and crawl takes SQLite",
    )
    options = parser.parse_args()
    logging.configure(Settings(log_level="WARNING"))
    _, measure = BENCHES[options.name]
    for figure in measure(options):
        print(figure.as_json(), flush=True)  # noqa: T201 - the result


if __name__ == "__main__":
    main()
