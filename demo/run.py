"""The whole main job on one machine: hubs publish, members find, hubs pay, rounds clear."""

import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx2
from rich.console import Console

from clearing.client import HistoryError, UntrustedAnswerError
from commons import logging
from commons.errors import LocalPayError
from commons.settings import Settings
from demo import finding, paying, trading
from demo.checks import Checks, Summary
from demo.hub import Hub
from demo.listings import groups
from demo.service import Service, free_port

WANTED_PORT: Final = 8080
_FAILURES: Final = (
    LocalPayError,
    UntrustedAnswerError,
    HistoryError,
    httpx2.HTTPError,
    subprocess.SubprocessError,
)


def main(*, check: bool) -> int:
    """Run the demo and return the exit status: 0 where everything was as expected.

    With `check` it ends when it is done and prints the summary as the last line of stdout, else
    it stays up until it is interrupted. Everything else goes to stderr. Its processes end with
    it, and its data, in a temporary folder, goes.
    """
    logging.configure(Settings(log_level="WARNING"))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    checks, summary = Checks(), Summary()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="localpay-demo-"))
            _run(stack, Path(folder), checks, summary, console, check=check)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 0 if checks.passed and not check else 1
    except _FAILURES as error:
        checks.failed("the demo to its end", str(error))
        checks.show(console)
    if check:
        print(summary.as_json())  # noqa: T201 - the result, for whoever scripts this
    return 0 if checks.passed else 1


def start_hubs(stack: ExitStack, service: Service) -> list[Hub]:
    """Start the three hubs, each with a server on a port of its own, until the stack unwinds."""
    return [stack.enter_context(Hub(group, service.url)) for group in groups()]


def join(service: Service, hubs: Sequence[Hub]) -> None:
    """Have the hubs register, and admit them as the operator; LocalPay then follows them."""
    for hub in hubs:
        hub.register()
    limits = ("--credit-limit", paying.CREDIT_LIMIT, "--surplus-limit", paying.SURPLUS_LIMIT)
    with ThreadPoolExecutor(len(hubs)) as operators:
        admitted = [
            operators.submit(service.command, "hub", "admit", hub.group.id, *limits) for hub in hubs
        ]
    for one in admitted:
        one.result()


def limit_pairs(service: Service, hubs: Sequence[Hub]) -> None:
    """Limit, as the operator, what each group may owe each other one."""
    for hub in hubs:
        others = [other.group.id for other in hubs if other is not hub]
        pairs = [word for other in others for word in ("--pair", f"{other}={paying.PAIR_LIMIT}")]
        service.command("account", "limits", hub.group.id, *pairs)


def _run(  # noqa: PLR0913 - what all parts of a run share
    stack: ExitStack,
    folder: Path,
    checks: Checks,
    summary: Summary,
    console: Console,
    *,
    check: bool,
) -> None:
    started = time.monotonic()
    console.rule("LocalPay and three hubs start")
    service = stack.enter_context(Service(folder, free_port(0 if check else WANTED_PORT)))
    hubs = start_hubs(stack, service)
    console.print(f"  LocalPay at {service.url}, its data in {folder}")
    for hub in hubs:
        console.print(f"  {hub.group.name} at {hub.at.base}")
    try:
        _publish_and_find(service, hubs, checks, summary, console)
        _pay_and_clear(service, hubs, checks, summary, console)
        console.rule("Sixty made-up groups trade, and a round clears among them")
        trading.clear_among_sixty(service, folder, checks, summary, console)
        _count_up(service, hubs, checks, summary, console)
    except _FAILURES:
        console.print(service.log_tail(), markup=False)
        raise
    console.rule("What was checked")
    checks.show(console)
    console.print(f"  Done in {time.monotonic() - started:.1f} s.")
    if not check:
        _stay_up(service, hubs, console)


def _publish_and_find(
    service: Service, hubs: Sequence[Hub], checks: Checks, summary: Summary, console: Console
) -> None:
    console.rule("Hubs register, are admitted, and are read")
    join(service, hubs)
    with ThreadPoolExecutor(1) as beside:
        limits = beside.submit(limit_pairs, service, hubs)
        found = finding.wait_for_listings(service, hubs, console)
        limits.result()
    summary.listings_found = sum(found.values())
    finding.check_found(service, hubs, found, checks)
    finding.check_story(service, hubs, checks, console)
    console.rule("A hub edits, adds and withdraws a listing")
    announcing = next(hub for hub in hubs if hub.group.announces)
    finding.measure_pushes(service, announcing, checks, summary, console)


def _pay_and_clear(
    service: Service, hubs: Sequence[Hub], checks: Checks, summary: Summary, console: Console
) -> None:
    console.rule("Members of different groups pay each other")
    paying.pay_in_a_circle(hubs, checks, console)
    paying.refuse_unknown_member(hubs, checks, console)
    paying.refuse_at_limits(hubs, checks, console)
    console.rule("A round clears what goes in a circle")
    paying.settle(service, hubs, checks, summary, console)
    paying.pay_again(hubs, checks, summary, console)
    console.rule("A payment is accepted at once, given back, and every history verified")
    paying.accept_at_once(hubs, checks, console)
    paying.verify_histories(hubs, checks, console)


def _count_up(
    service: Service, hubs: Sequence[Hub], checks: Checks, summary: Summary, console: Console
) -> None:
    console.rule("The books of the three hubs, and the audit of all")
    paying.count_up(service, hubs, checks, summary)
    paying.show_books(paying.read_books(hubs), "After the payment that fits now", console)


def _stay_up(service: Service, hubs: Sequence[Hub], console: Console) -> None:
    """Serve until interrupted; raises LocalPayError where the service ends by itself."""
    payer, payee = hubs[-1], hubs[0]
    order = f'{{"payee": "{payee.group.id}/{payee.group.members[0]}", "amount": "6.00"}}'
    console.print(
        f"\n  Search in a browser: [bold]{service.url}/[/]\n"
        f"  Search: curl '{service.url}/listings?"
        "q=plumer+near+leeds&payer_group=kreuzberg&pay=time'\n"
        f"  Pay: curl {payer.at.base}/members/{payer.group.members[0]}/payments "
        f"-H 'Content-Type: application/json' -d '{order}'\n"
        "  Ctrl-C ends everything.",
        markup=True,
    )
    while service.is_running:
        time.sleep(0.5)
    raise LocalPayError(f"LocalPay ended by itself: {service.log_tail()}")
