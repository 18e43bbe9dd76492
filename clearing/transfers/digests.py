"""The digests that stand for transfers in the chains of accounts; final, as the chains are."""

from typing import Any
from uuid import UUID, uuid5

from clearing import chain
from clearing.transfers.model import AnyTransfer


def name_digests(t: AnyTransfer) -> dict[str, str]:
    """Return the keyed digests of the members' names and the description.

    Those that were kept where the key was deleted to erase the names.
    """
    if t.key is None:
        kept: dict[str, Any] | None = t.kept_digests
        if kept is None:
            raise ValueError(f"the key of transfer {t.id} was deleted and no digest kept")
        return dict(kept)
    return {
        "payer_member": chain.keyed_digest(t.key, "payer_member", t.payer_member or ""),
        "payee_member": chain.keyed_digest(t.key, "payee_member", t.payee_member or ""),
        "description": chain.keyed_digest(t.key, "description", t.description or ""),
    }


def content(t: AnyTransfer) -> dict[str, str]:
    """Return what the chains of its accounts vouch for of a transfer with its rates.

    Names and description enter only as digests under the transfer's own key; levy, value date
    and what it reverses only where there is such a thing.
    """
    told = {
        "transfer": chain.uuid_text(t.id),
        "union": t.union_id,
        "initiator": str(t.initiator),
        "created": chain.time_text(t.created_at),
        "expires": chain.time_text(t.expires_at),
        "payer": t.payer_group,
        "payee": t.payee_group,
        **name_digests(t),
        "amount": t.amount,
        "unit": str(t.unit),
        "payer_amount": str(t.payer_amount),
        "payee_amount": str(t.payee_amount),
        "payer_clearing": str(t.payer_clearing),
        "payee_clearing": str(t.payee_clearing),
        "payer_rate": t.payer_rate,
        "payee_rate": t.payee_rate,
    }
    if t.levy:
        told["levy"] = str(t.levy)
    if t.value_date is not None:
        told["value_date"] = t.value_date.isoformat()
    if t.reverses is not None:
        told["reverses"] = str(t.reverses)
    if t.by_operator:
        told["by"] = "operator"
    return told


def content_digest(t: AnyTransfer) -> str:
    """Return the digest that stands for a transfer with its rates in the chains of its accounts."""
    return chain.digest(content(t))


def levy_journal(transfer_id: UUID) -> UUID:
    """Return the id of the journal of a transfer's levy."""
    return uuid5(transfer_id, "levy")


def levy_content(t: AnyTransfer) -> dict[str, str]:
    """Return what the chains of its two accounts vouch for of a transfer's levy."""
    return {
        "journal": str(levy_journal(t.id)),
        "about": str(t.id),
        "union": t.union_id,
        "payer": t.payer_group,
        "levy": str(t.levy),
    }


def levy_digest(t: AnyTransfer) -> str:
    """Return the digest that stands for a transfer's levy in the chains of its two accounts."""
    return chain.digest(levy_content(t))
