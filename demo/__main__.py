"""`python -m demo [--check]`."""

import argparse
import sys

from demo.run import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="demo", description="Run LocalPay with three demo hubs on this machine."
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="end when done, print a JSON summary, fail where anything is wrong",
    )
    sys.exit(main(check=parser.parse_args().check))
