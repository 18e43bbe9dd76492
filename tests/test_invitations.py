"""An invitation brings a hub in whose software cannot agree by itself: once, and only that hub."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hub_server import Crawling
from other_software import Site, count, join, nothing_kept, peer_of
from sqlalchemy import Engine, select, update
from test_commands import good, refused, run

from api.migrations import upgrade
from commons.database import now, reading, transaction
from commons.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from commons.groups import Group, Hub, HubKey
from commons.settings import Settings
from crawler.invitations import Invitation, invite, open_invitations, redeem, revoke_invitation
from crawler.peers import Peer, PeerKind, PeerState

EVIDENCE = "The operator's letter of 3 November"


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def site() -> Iterator[Site]:
    with Site().serving() as serving:
        yield serving


def code_for(engine: Engine, address: str, kind: PeerKind = PeerKind.ACTIVITYPUB) -> str:
    with transaction(engine) as session:
        return invite(session, address, EVIDENCE, kind=kind)


def is_used(engine: Engine) -> bool:
    with reading(engine) as session:
        return session.scalars(select(Invitation)).one().used_at is not None


@pytest.mark.parametrize("by", ["origin", "actor"])
def test_an_invited_hub_is_followed_and_the_evidence_kept(
    crawling: Crawling, site: Site, by: str
) -> None:
    uri = site.actor("/relay", "Application", "relay")
    code = code_for(crawling.engine, site.base if by == "origin" else uri)

    joined = join(crawling, uri, invitation=code)
    crawling.work()

    assert (joined.to_mend, joined.kind) == (None, PeerKind.INSTANCE)
    evidence = peer_of(crawling.engine, uri).consent_evidence
    assert evidence is not None
    assert (evidence["kind"], evidence["evidence"]) == ("invitation", EVIDENCE)
    assert [activity["type"] for activity in site.taken] == ["Follow"]
    assert is_used(crawling.engine)
    assert join(crawling, uri, invitation=code).to_mend is None  # it has joined already


def test_only_the_hash_of_a_code_is_kept(engine: Engine) -> None:
    code = code_for(engine, "https://hub.example")

    with reading(engine) as session:
        row = session.scalars(select(Invitation)).one()
    assert len(code) >= 32
    assert code not in str(vars(row))


@pytest.mark.parametrize("wrong", ["another", "used", "expired", "revoked", "other hub", "kind"])
def test_a_code_that_is_not_valid_is_refused_alike_and_has_no_effect(
    crawling: Crawling, site: Site, wrong: str
) -> None:
    uri = site.actor("/group", "Group", "barcelona")
    kind = PeerKind.PUSH if wrong == "kind" else PeerKind.ACTIVITYPUB
    address = "https://hub.example" if wrong == "other hub" else uri
    code = code_for(crawling.engine, address, kind)
    moment: dict[str, object] = {}
    with transaction(crawling.engine) as session:
        if wrong == "expired":
            moment = {"expires_at": now(session) - timedelta(seconds=1)}
        elif wrong in {"used", "revoked"}:
            moment = {f"{wrong}_at": now(session)}
        if moment:
            session.execute(update(Invitation).values(moment))

    with pytest.raises(ForbiddenError) as refusal:
        join(crawling, uri, invitation="x" * 32 if wrong == "another" else code)

    assert "unknown, used, expired or revoked" in refusal.value.detail
    assert nothing_kept(crawling.engine)
    assert is_used(crawling.engine) is (wrong == "used")
    crawling.work()
    assert site.taken == []


def test_a_no_of_the_actor_wins_and_uses_nothing_up(crawling: Crawling, site: Site) -> None:
    uri = site.actor("/group", "Group", "barcelona", indexable=False)
    code = code_for(crawling.engine, uri)

    joined = join(crawling, uri, invitation=code)

    assert "indexable" in (joined.to_mend or "")
    assert count(crawling.engine, Peer, Group, Hub, HubKey) == 0
    assert not is_used(crawling.engine)


def test_an_invitation_brings_back_a_hub_that_had_blocked_us(
    crawling: Crawling, site: Site
) -> None:
    uri = site.actor("/group", "Group", "barcelona")
    join(crawling, uri)
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(state=PeerState.BLOCKED))

    assert join(crawling, uri, invitation=code_for(crawling.engine, uri)).to_mend is None
    assert peer_of(crawling.engine, uri).state is PeerState.CONSENTED


def test_an_origin_is_not_the_beginning_of_an_address(engine: Engine) -> None:
    code = code_for(engine, "https://hub.example")
    other = code_for(engine, "https://hub.example/group")

    for wrong, uri in (
        (code, "https://hub.example.evil.example/group"),
        (code, "https://hub.example:8443/group"),
        (other, "https://hub.example/group2"),
        (other, "https://hub.example/"),
    ):
        with transaction(engine) as session, pytest.raises(ForbiddenError):
            redeem(session, wrong, {uri}, {PeerKind.ACTIVITYPUB})
    with transaction(engine) as session:
        redeem(session, code, {"https://hub.example/any"}, {PeerKind.ACTIVITYPUB})


@pytest.mark.parametrize(
    ("field", "address", "evidence", "days"),
    [
        ("address", "hub.example", EVIDENCE, 30),
        ("address", "@group@hub.example", EVIDENCE, 30),
        ("evidence", "https://hub.example", "  ", 30),
        ("evidence", "https://hub.example", "x" * 2001, 30),
        ("days", "https://hub.example", EVIDENCE, 0),
        ("days", "https://hub.example", EVIDENCE, 366),
    ],
)
def test_an_invitation_needs_an_address_evidence_and_a_time(
    sqlite_engine: Engine, field: str, address: str, evidence: str, days: int
) -> None:
    with transaction(sqlite_engine) as session, pytest.raises(InvalidError) as refusal:
        invite(session, address, evidence, days=days)

    assert refusal.value.field == field


def test_an_invitation_is_revoked_unless_it_was_used(engine: Engine) -> None:
    code = code_for(engine, "https://hub.example")
    with transaction(engine) as session:
        used = redeem(session, code, {"https://hub.example/group"}, {PeerKind.ACTIVITYPUB}).id
    with transaction(engine) as session:
        invite(session, "https://leeds.example", EVIDENCE)
        (fresh, _) = open_invitations(session)
        revoke_invitation(session, fresh.id)
        for done in (used, fresh.id):
            with pytest.raises(ConflictError):
                revoke_invitation(session, done)
        with pytest.raises(NotFoundError):
            revoke_invitation(session, 999)
        assert [row.id for row in open_invitations(session)] == [used]


def test_the_operator_invites_lists_and_revokes(settings: Settings, site: Site) -> None:
    upgrade(settings.effective_database_url)
    uri = site.actor("/group", "Group", "barcelona")

    made = json.loads(good(settings, "hub", "invite", uri, "--evidence", EVIDENCE, "--days", "3"))

    asked = parse_qs(urlsplit(made["link"]).query)
    assert made["link"].startswith("http://testserver/join?")
    assert asked == {"address": [uri], "invitation": [made["invitation"]]}
    listed = good(settings, "hub", "invitations")
    assert made["invitation"] not in listed
    assert uri in listed
    assert run(settings, "hub", "invitations", "--revoke", "1").stderr.endswith("1 is revoked.\n")
    refused(settings, "hub", "invitations", "--revoke", "1", code=1)
    refused(settings, "hub", "join", uri, "--invitation", made["invitation"], code=1)

    again = json.loads(good(settings, "hub", "invite", uri, "--evidence", EVIDENCE))
    told = good(settings, "hub", "join", uri, "--invitation", again["invitation"])
    assert "is followed as the group barcelona" in told
    assert made["invitation"] != again["invitation"]


def test_an_account_is_invited_as_the_actor_that_it_is(settings: Settings, site: Site) -> None:
    upgrade(settings.effective_database_url)
    uri = site.actor("/group", "Group", "barcelona")
    account = f"@barcelona@{site.base.partition('://')[2]}"
    site.webfinger(f"acct:{account[1:]}", uri)

    made = json.loads(good(settings, "hub", "invite", account, "--evidence", EVIDENCE))

    assert made["address"] == uri
    told = good(settings, "hub", "join", account, "--invitation", made["invitation"])
    assert "is followed" in told


@pytest.mark.parametrize("kind", ["ces", "push", "relay"])
def test_who_cannot_redeem_is_not_invited(settings: Settings, kind: str) -> None:
    upgrade(settings.effective_database_url)
    invited = ("hub", "invite", "https://hub.example", "--evidence", EVIDENCE, "--kind", kind)
    assert run(settings, *invited).exit_code == 2
    assert "https://hub.example" not in good(settings, "hub", "invitations")


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_a_list_is_read_whatever_separates_its_columns(
    settings: Settings, site: Site, tmp_path: Path, separator: str
) -> None:
    upgrade(settings.effective_database_url)
    agreed = site.actor("/barcelona", "Group", "barcelona", indexable=True)
    table = tmp_path / "hubs.csv"
    table.write_text(f"Name{separator}URL\nBarcelona{separator}{agreed}\n", encoding="utf-8")
    told = json.loads(good(settings, "hub", "discover", str(table), "--json"))["hubs"]
    assert [(hub["address"], hub["state"]) for hub in told] == [(agreed, "consented")]


def test_a_list_that_leads_nowhere_fails(settings: Settings, site: Site, tmp_path: Path) -> None:
    upgrade(settings.effective_database_url)
    missing = tmp_path / "none.csv"
    assert "is no file" in refused(settings, "hub", "discover", str(missing), code=2)
    unnamed = tmp_path / "hubs.csv"
    unnamed.write_text("Name;Where\nBarcelona;here\n", encoding="utf-8")
    assert "address" in refused(settings, "hub", "discover", str(unnamed), code=2)
    assert run(settings, "hub", "discover", f"{site.base}/none").exit_code == 1


def test_the_operator_discovers_a_list_of_hubs(
    settings: Settings, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    upgrade(settings.effective_database_url)
    agreed = site.actor("/barcelona", "Group", "barcelona", indexable=True)
    silent = site.actor("/leeds", "Group", "leeds")
    folder = tmp_path_factory.mktemp("lists")
    table = folder / "hubs.csv"
    table.write_text(f"name,url\nBarcelona,{agreed}\nNobody,\n", encoding="utf-8")
    lines = folder / "hubs.txt"
    lines.write_text(f"# what we heard of\n{silent}\n\nnot an address//\n", encoding="utf-8")

    told = json.loads(
        good(settings, "hub", "discover", str(table), str(lines), f"{site.base}/none", "--json")
    )["hubs"]

    states = {hub["address"]: hub["state"] for hub in told}
    assert states == {
        agreed: "consented",
        silent: "discovered",
        "not an address//": None,
        f"{site.base}/none": None,
    }
    assert all(hub["to_mend"] for hub in told if hub["state"] != "consented")
    assert "barcelona" in good(settings, "hub", "discover", agreed)
    refused(settings, "hub", "discover", "::", code=2)
