"""`python -m bench NAME`: prints the figures of one bench as lines of JSON."""

import argparse
from collections.abc import Callable, Iterator
from typing import Final

from bench import bad_input, crash, crawl, demo, ledger, network, relevance, rounds, search, soak
from bench.figures import Told
from bench.judging import HALVES
from commons import logging
from commons.settings import Settings

Options = argparse.Namespace
BENCHES: Final[dict[str, tuple[str | None, Callable[[Options], Iterator[Told]]]]] = {
    "bad_input": (
        bad_input.__doc__,
        lambda options: bad_input.measure(options.listings, options.database),
    ),
    "crash": (
        crash.__doc__,
        lambda options: crash.measure(options.rounds, prove=options.prove),
    ),
    "crawl": (crawl.__doc__, lambda options: crawl.measure(options.activities, options.database)),
    "demo": (demo.__doc__, lambda _: demo.measure()),
    "ledger": (
        ledger.__doc__,
        lambda options: ledger.measure(options.entries, options.database),
    ),
    "network": (
        network.__doc__,
        lambda options: network.measure(options.transfers, options.database),
    ),
    "relevance": (relevance.__doc__, lambda options: relevance.measure(_asked(options))),
    "rounds": (rounds.__doc__, lambda _: rounds.measure()),
    "search": (search.__doc__, lambda options: search.measure(options.listings, options.database)),
    "soak": (soak.__doc__, lambda options: soak.measure(options.answers)),
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


def _ask_of_the_ledger(parser: argparse.ArgumentParser) -> None:
    parser.add_argument_group("of ledger").add_argument(
        "--entries",
        type=_one_or_more,
        default=2_000_000,
        metavar="N",
        help="entries of a year's payments over which statements and balances are read; to post "
        "10,000,000 takes a quarter of an hour",
    )
    parser.add_argument_group("of network").add_argument(
        "--transfers",
        type=_one_or_more,
        default=1_000_000,
        metavar="N",
        help="payments over which the figures of the network are read",
    )
    parser.add_argument_group("of soak").add_argument(
        "--answers",
        type=_one_or_more,
        default=100_000,
        metavar="N",
        help="calls of transfers that are answered before the books are held against them",
    )
    of_crash = parser.add_argument_group("of crash")
    of_crash.add_argument(
        "--rounds", type=_one_or_more, default=20, metavar="N", help="crashes on each database"
    )
    of_crash.add_argument(
        "--prove",
        action="store_true",
        help="have PostgreSQL forget what it confirmed, and fail where that is not found",
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
    _ask_of_the_ledger(parser)
    parser.add_argument_group("of crawl").add_argument(
        "--activities",
        type=_one_or_more,
        default=100_000,
        metavar="N",
        help="pushed activities over which memory is watched",
    )
    of_both = parser.add_argument_group("of search, bad_input, relevance, crawl and ledger")
    of_both.add_argument(
        "--database",
        metavar="URL",
        help="postgresql+psycopg2://… with PostGIS, on whose server the peers, and what crawl "
        "measures, get a database; else a server is started for the peers, and crawl takes SQLite",
    )
    options = parser.parse_args()
    logging.configure(Settings(log_level="WARNING"))
    _, measure = BENCHES[options.name]
    for told in measure(options):
        print(told.as_json(), flush=True)  # noqa: T201 - the result


if __name__ == "__main__":
    main()
