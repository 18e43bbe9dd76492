"""The second half of the demo: members of different groups pay each other, and a round clears.

Every group may go 5 hours below zero (10 above), and may owe each other one 10 hours. Payments
go round: Gràcia to Kreuzberg (8 hours in all), Kreuzberg to Leeds (9), Leeds to Gràcia (7).
Nobody's balance is far from zero, and yet Gràcia has only 2 hours left of what it may owe
Kreuzberg, until a round sets off what goes in a circle.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import httpx2
import orjson
from rich.console import Console
from rich.table import Table

from commons.errors import RefusedError
from demo.checks import Checks, Summary
from demo.documents import Json
from demo.hub import Hub
from demo.service import Service

CREDIT_LIMIT: Final = "5"
SURPLUS_LIMIT: Final = "10"
PAIR_LIMIT: Final = "10"
ANSWERED_WITHIN_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.05
ZERO: Final = Decimal(0)

# Per lap: from Gràcia to Kreuzberg, on to Leeds, back to Gràcia; payer, payee, what for.
LAPS: Final = (
    (("ines", "lena", "Regal"), ("emre", "beth", "bike repair"), ("moss", "pau", "pa")),
    (("pau", "emre", "Rechner"), ("lena", "gwen", "baskets"), ("beth", "ines", "bici")),
    (("mireia", "jonas", "Klavier"), ("oleg", "dan", "radio"), ("tariq", "claire", "jardin")),
    (("claire", "hatice", "Vorhang"), ("samira", "kasia", "curtains"), ("dan", "nuria", "salut")),
)
# In the payee's own currency: 2 hours, 2.25 hours at 10 calders, 1.75 hours at 12 gràcies.
AMOUNTS: Final = ("2.00", "22.50", "21.00")


@dataclass(frozen=True)
class Books:
    """What the three hubs are told of their accounts at one moment, in clearing units."""

    balances: dict[str, Decimal]
    obligations: dict[tuple[str, str], Decimal]

    @property
    def owed(self) -> Decimal:
        """Everything that groups owe each other."""
        return sum(self.obligations.values(), ZERO)


def read_books(hubs: Sequence[Hub]) -> Books:
    """Ask each hub's account and obligations; every obligation is told to both its sides."""
    balances, obligations = {}, {}
    for hub in hubs:
        balances[hub.group.id] = Decimal(hub.payments.account()["balance"])
        for row in hub.payments.obligations():
            obligations[row["debtor"], row["creditor"]] = Decimal(row["amount"])
    return Books(balances, obligations)


def pay_in_a_circle(hubs: Sequence[Hub], checks: Checks, console: Console) -> None:
    """Make the payments between the three, each accepted by the other hub.

    All but one are pushed by the payer's hub. The last is a request: Gràcia's hub asks to be
    paid, and the hub in Leeds says yes for its member.
    """
    for lap in LAPS:
        made = []
        for index, parties in enumerate(lap):
            payers, payees = hubs[index], hubs[(index + 1) % len(hubs)]
            start = _ask if parties is LAPS[-1][-1] else _push
            made.append((payers, start(payers, payees, parties, AMOUNTS[index])))
        for hub, transfer in made:
            ended = wait_for_answer(hub, transfer["id"])
            checks.equal(f"{ended['payer']} pays {ended['payee']}", ended["state"], "posted")
            console.print(_told(ended))


def refuse_unknown_member(hubs: Sequence[Hub], checks: Checks, console: Console) -> None:
    """Pay somebody whom the other hub does not know; that hub says no, and nothing is posted."""
    gracia = hubs[0]
    transfer = gracia.payments.pay("ines", "kreuzberg/nobody", "0.50")
    ended = wait_for_answer(gracia, transfer["id"])
    checks.equal("a payment to an unknown member", ended["state"], "rejected")
    console.print(_told(ended))


def refuse_at_limits(hubs: Sequence[Hub], checks: Checks, console: Console) -> None:
    """Try one payment over the account's limit, and one over what the pair allows."""
    gracia = hubs[0]
    for payee, amount, reason, available in (
        ("leeds/dan", "45.00", "credit_limit", Decimal(4)),
        ("kreuzberg/jonas", "3.00", "pair_limit", Decimal(2)),
    ):
        refusal = _refusal(gracia, "mireia", payee, amount)
        checks.equal(f"gracia/mireia pays {payee} {amount}: refused at", refusal[0], reason)
        checks.equal(f"what is available to pay {payee}", refusal[1], available)
        console.print(
            f"  gracia/mireia → {payee} {amount}: [yellow]refused[/] at the {refusal[0]}, "
            f"available {refusal[1]}"
        )


def settle(
    service: Service, hubs: Sequence[Hub], checks: Checks, summary: Summary, console: Console
) -> None:
    """Run a round, and check what the hubs see of it against what it says of itself."""
    before = read_books(hubs)
    show_books(before, "Before the round", console)
    said = orjson.loads(service.command("settle", "--json"))
    after = read_books(hubs)
    show_books(after, "After the round", console)
    summary.obligations_before, summary.obligations_after = before.owed, after.owed
    summary.cleared = Decimal(said["cleared"])
    for key, seen in (("obligations_before", before.owed), ("obligations_after", after.owed)):
        checks.equal(f"{key} as the hubs see it", seen, Decimal(said[key]))
    checks.equal("cleared is what went away", before.owed - after.owed, summary.cleared)
    checks.equal("cleared: the whole circle of 7 hours", summary.cleared, Decimal(21))
    for group, balance in after.balances.items():
        checks.equal(f"balance of {group}, as before the round", balance, before.balances[group])


def pay_again(hubs: Sequence[Hub], checks: Checks, summary: Summary, console: Console) -> None:
    """Send the payment that the pair refused again, under a new id: now there is room."""
    gracia = hubs[0]
    transfer = gracia.payments.pay("mireia", "kreuzberg/jonas", "3.00", "piano")
    ended = wait_for_answer(gracia, transfer["id"])
    summary.freed_by_round = int(ended["state"] == "posted")
    checks.equal("payments that the round made room for", summary.freed_by_round, 1)
    console.print(_told(ended))


def accept_at_once(hubs: Sequence[Hub], checks: Checks, console: Console) -> None:
    """Have Leeds accept small payments by rule, pay it one, and have it given back."""
    gracia, _, leeds = hubs
    leeds.payments.accept_at_once("5.00")
    paid = gracia.payments.pay("ines", "leeds/gwen", "5.00", "cistella")
    checks.equal("a payment that the other hub's rule accepts", paid["state"], "posted")
    console.print(_told(paid) + " at once, by a rule of leeds")
    back = leeds.payments.give_back(paid["id"], "the basket is sold")
    ended = wait_for_answer(gracia, back["id"])
    checks.equal("its reversal", ended["state"], "posted")
    taken_back = leeds.payments.transfer(paid["id"])["reversed_amount"]
    checks.equal("what was given back", taken_back, paid["payee_amount"])
    console.print(
        f"  given back to {paid['payer']}: {ended['payer_amount']} {ended['payer_currency']}"
    )


def verify_histories(hubs: Sequence[Hub], checks: Checks, console: Console) -> None:
    """Have each hub hash its account's whole history, and compare with all it was told."""
    versions = {hub.group.id: hub.payments.verified_version() for hub in hubs}
    for hub in hubs:
        version = hub.payments.account()["version"]
        checks.equal(f"versions of {hub.group.id}, verified", versions[hub.group.id], version)
    told = ", ".join(f"{group} {version}" for group, version in versions.items())
    console.print(f"  versions of each account, all hashes verified: {told}")


def count_up(service: Service, hubs: Sequence[Hub], checks: Checks, summary: Summary) -> None:
    """Count transfers by state, add up the balances, and have the ledger audited."""
    posted, refused = (_in_state(hubs, state) for state in ("posted", "refused"))
    summary.transfers_posted, summary.transfers_refused = len(posted), len(refused)
    checks.equal("transfers posted", len(posted), len(AMOUNTS) * len(LAPS) + 3)
    checks.equal("transfers refused", len(refused), 2)
    summary.balances_sum = sum(read_books(hubs).balances.values(), ZERO)
    checks.equal("sum of all balances", summary.balances_sum, ZERO)
    checks.equal("localpay audit ends with", service.exit_status("audit"), 0)


def show_books(books: Books, title: str, console: Console) -> None:
    """Print balances and obligations."""
    table = Table("debtor", "creditor", "hours", title=title)
    for (debtor, creditor), amount in sorted(books.obligations.items()):
        table.add_row(debtor, creditor, f"{amount:.4f}")
    table.add_section()
    table.add_row("all", "", f"{books.owed:.4f}")
    balances = ", ".join(f"{group} {amount:+.4f}" for group, amount in books.balances.items())
    console.print(table, f"  balances: {balances}")


def wait_for_answer(hub: Hub, transfer_id: str) -> Json:
    """Return the transfer once the other hub has answered, or as it is when it takes too long."""
    deadline = time.monotonic() + ANSWERED_WITHIN_SECONDS
    while True:
        transfer = hub.payments.transfer(transfer_id)
        if transfer["state"] != "pending" or time.monotonic() > deadline:
            return transfer
        time.sleep(POLL_SECONDS)


def _push(payers: Hub, payees: Hub, parties: tuple[str, str, str], amount: str) -> Json:
    """Order a payment as the payer's own page would, at the address of the payer's hub."""
    payer, payee, what = parties
    order = {"payee": f"{payees.group.id}/{payee}", "amount": amount, "description": what}
    address = f"{payers.at.base}/members/{payer}/payments"
    answer = httpx2.post(address, json=order, trust_env=False).raise_for_status()
    made: Json = answer.json()
    return made


def _ask(payers: Hub, payees: Hub, parties: tuple[str, str, str], amount: str) -> Json:
    payer, payee, what = parties
    asked = payees.payments.request(f"{payers.group.id}/{payer}", payee, amount, what)
    return payers.payments.accept(asked["id"])


def _refusal(hub: Hub, payer: str, payee: str, amount: str) -> tuple[str, Decimal | None]:
    """Return why a payment is refused and what could be paid; `none` where it is not refused."""
    try:
        hub.payments.pay(payer, payee, amount)
    except RefusedError as refused:
        return str(refused.extra["reason"]), Decimal(str(refused.extra["available"]))
    return "none", None


def _in_state(hubs: Sequence[Hub], state: str) -> set[str]:
    return {transfer["id"] for hub in hubs for transfer in hub.payments.transfers(state)}


def _told(transfer: Json) -> str:
    paid = f"{transfer['payer_amount']} {transfer['payer_currency']}"
    received = f"{transfer['payee_amount']} {transfer['payee_currency']}"
    colour = "green" if transfer["state"] == "posted" else "yellow"
    parties = f"{transfer['payer']} → {transfer['payee']}"
    return f"  {parties}: {paid} = {received}, [{colour}]{transfer['state']}[/]"
