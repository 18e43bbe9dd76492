"""`python -m bench NAME`: prints the figures of one bench as lines of JSON."""

import argparse

from bench import demo
from commons import logging
from commons.settings import Settings

BENCHES = {"demo": demo}


def main() -> None:
    """Run the bench that is named."""
    listed = "\n".join(f"  {name}: {module.__doc__}" for name, module in BENCHES.items())
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Measure, and print each figure as a line of JSON.",
        epilog=f"benches:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=BENCHES)
    name = parser.parse_args().name
    logging.configure(Settings(log_level="WARNING"))
    for figure in BENCHES[name].measure():
        print(figure.as_json(), flush=True)  # noqa: T201 - the result


if __name__ == "__main__":
    main()
