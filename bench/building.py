"""Building the embedded index, in a process of its own, so that its memory can be told."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import track

from bench.corpus import Corpus
from bench.plain import batches
from bench.vocabulary import towns
from marketplace.embedded import EmbeddedIndex
from marketplace.index import BATCH, Change

KIB_A_MB: Final = 1_000_000 / 1024
progress_console: Final = Console(stderr=True)


@dataclass(frozen=True)
class Built:
    """What building took; `seconds` without the making up of the listings."""

    seconds: float
    bytes_on_disk: int
    peak_mb: float


def build_apart(folder: Path, corpus: Corpus) -> Built:
    """Build the index of a corpus around all towns in a process of its own.

    Its progress bar is on our stderr.
    """
    asked = (str(folder), str(corpus.size), str(corpus.seed), corpus.now.isoformat())
    command = [sys.executable, "-m", "bench.building", *asked]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603 (our own)
    return Built(**json.loads(done.stdout))


def build(folder: Path, corpus: Corpus) -> Built:
    """Build the index of a corpus in this process."""
    index = EmbeddedIndex(folder)
    making = 0.0

    def made() -> Iterator[list[Change]]:
        """Pass the batches on, and count what making them up takes."""
        nonlocal making
        steps = -(-corpus.size // BATCH)
        made_up = batches(corpus.changes(), BATCH)
        for _ in track(range(steps), "building the index", console=progress_console):
            start = time.perf_counter()
            batch = next(made_up)
            making += time.perf_counter() - start
            yield batch

    start = time.perf_counter()
    index.fill(made())
    index.close()
    seconds = time.perf_counter() - start - making
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_A_MB
    return Built(seconds, size, peak_mb)


def main() -> None:
    """Build what the arguments ask for, and print what it took as JSON."""
    folder, size, seed, now = sys.argv[1:]
    corpus = Corpus(int(size), int(seed), datetime.fromisoformat(now), towns())
    built = build(Path(folder), corpus)
    sys.stdout.write(json.dumps(asdict(built)))


if __name__ == "__main__":
    main()
