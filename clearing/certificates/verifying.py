"""Verifying rounds from the files of their certificates alone: no server, no database."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain, pairwise

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clearing.certificates import checks
from clearing.certificates.documents import FIRST_HASH, accounts_of
from clearing.certificates.leaves import Price, Row, amount
from clearing.certificates.reading import File, Leaf, Public
from clearing.verifying import Report, check_origin


def verify(files: Sequence[File], key: Ed25519PublicKey | None, now: datetime) -> Report:
    """Check certificates, slices of one round against each other, and that certificates chain.

    With the service's public key their origin is checked too. `now` is when no signature may be
    made after.
    """
    report = Report()
    rounds: dict[tuple[str, str], list[File]] = defaultdict(list)
    for file in files:
        rounds[file.public.service, file.public.round].append(file)
    for one in rounds.values():
        _check_round(report, one)
    _check_chains(report, [one[0].public for one in rounds.values()])
    check_origin(report, [(file.name, file.raw) for file in files], key, now)
    return report


def _check_round(report: Report, files: Sequence[File]) -> None:
    """Check all files of one round."""
    told = files[0].public
    report.checked.append(_told(told))
    for file in files:
        if file.public.hash != told.hash:
            report.problems.append(
                f"{file.name}: round {told.round}: another certificate than in {files[0].name}"
            )
        report.problems += (f"{file.name}: {problem}" for problem in checks.public(file))
        _check_leaves(report, file)
    slices = [file for file in files if file.group is not None]
    if slices and not report.problems:
        _check_together(report, told, slices)


def _told(told: Public) -> str:
    """Return what the service says, which the rows are yet to show."""
    queue, released = told.queue, ""
    most = f", and that no round could come to more than {told.bound}"
    if told.rules.credit_lines:
        most = (
            f" and {told.drawn} drawn on spare credit lines, and that the first less the second "
            f"could come to no more than {told.bound}"
        )
    if queue.waiting:
        released = (
            f"; {queue.released} of {queue.waiting} queued payments are released, worth "
            f"{queue.value} of {queue.bound} at most"
        )
    return (
        f"round {told.round}: certificate {told.number} of {told.union} says that of "
        f"{told.obligations_total} owed {told.cleared} is set off{most}{released}"
    )


def _check_leaves(report: Report, file: File) -> None:
    """Check the rows and prices of a slice or a full file."""
    if file.rows is None or file.prices is None:
        report.checked.append(
            f"{file.name}: fits its hash; there are no rows in it to check what it says by"
        )
        return
    leaves = [*file.rows, *file.prices]
    found = list(checks.once(leaves))
    rows, prices = _rows(file.rows), _prices(file.prices)
    found += checks.one_way(rows)
    found += checks.priced(rows, prices)
    if not found:
        found += _of_all(file, leaves) if file.group is None else _of_slice(file, file.group)
    report.problems += (f"{file.name}: {problem}" for problem in found)
    if not found:
        report.checked.append(f"{file.name}: {_holds(file.group, rows)}")


def _of_all(file: File, leaves: Sequence[Leaf]) -> Iterator[str]:
    """Check what a full file has to hold."""
    rows, prices = _rows(leaves), _prices(leaves)
    yield from checks.optimal(file.public, rows, prices)
    yield from checks.conserved(rows, prices)
    yield from checks.sums(file.public, rows, prices)
    yield from checks.whole_tree(file.public, leaves)


def _of_slice(file: File, group: str) -> Iterator[str]:
    """Check what a group's slice has to hold."""
    leaves = [*(file.rows or ()), *(file.prices or ())]
    rows, prices = _rows(leaves), _prices(leaves)
    yield from checks.own(group, rows)
    yield from checks.paths(file.public, leaves)
    yield from checks.optimal(file.public, rows, prices)
    yield from checks.conserved(rows, accounts_of(group))


def _holds(group: str | None, rows: Sequence[Row]) -> str:
    if group is None:
        return (
            f"all {len(rows)} rows and their prices make the root and the totals, and by the "
            "prices nothing more could be set off: the round is proven whole"
        )
    names = accounts_of(group)
    turned = sum(row.net for row in rows if row.debtor in names and row.creditor not in names)
    return (
        f"the slice of {group}: its {len(rows)} rows are in the root, {amount(turned)} is "
        "set off on either side, and by the prices nothing more could be"
    )


def _check_together(report: Report, told: Public, slices: Sequence[File]) -> None:
    """Check slices of one round against each other, and whether they are all there is."""
    leaves: dict[int, Leaf] = {}
    for leaf in chain.from_iterable((*(file.rows or ()), *(file.prices or ())) for file in slices):
        leaves[leaf.place] = leaf
    everything = list(leaves.values())
    rows, prices = _rows(everything), _prices(everything)
    found = list(checks.once(everything))
    found += checks.shared({str(file.group): _rows(file.rows or ()) for file in slices})
    size = told.rows + told.accounts
    if not found and len(leaves) == size:
        found += [*checks.conserved(rows, prices), *checks.sums(told, rows, prices)]
    report.problems += (f"round {told.round}: {problem}" for problem in found)
    if found:
        return
    if len(leaves) == size:
        report.checked.append(
            f"all {len(slices)} slices together: each of the {size} places of the tree was seen, "
            "and rows make the totals: the round is proven whole"
        )
    else:
        report.checked.append(
            f"{len(leaves)} of the {size} places of the tree were seen; that the others hold is "
            "for those to check whose slices they are in, and that no row of a slice is missing "
            "cannot be shown by this: compare with your own book"
        )


def _check_chains(report: Report, certificates: Sequence[Public]) -> None:
    """Check that certificates of a union follow each other."""
    unions: dict[tuple[str, str], list[Public]] = defaultdict(list)
    for one in certificates:
        unions[one.service, one.union].append(one)
    for (_, union), found in unions.items():
        found.sort(key=lambda one: one.number)
        for earlier, later in pairwise(found):
            if later.number == earlier.number:
                report.problems.append(f"union {union}: two certificates {later.number}")
            elif later.number == earlier.number + 1:
                if later.previous != earlier.hash:
                    report.problems.append(
                        f"round {later.round}: previous: is not the hash of round {earlier.round}"
                    )
                else:
                    report.checked.append(
                        f"certificate {later.number} of {union} follows {earlier.number}"
                    )
        first = found[0]
        if (first.number == 1) != (first.previous == FIRST_HASH):
            report.problems.append(f"round {first.round}: previous: is not that of the first")


def _rows(leaves: Sequence[Leaf]) -> list[Row]:
    return [leaf.told for leaf in leaves if isinstance(leaf.told, Row)]


def _prices(leaves: Sequence[Leaf]) -> dict[str, int]:
    return {leaf.told.account: leaf.told.price for leaf in leaves if isinstance(leaf.told, Price)}
