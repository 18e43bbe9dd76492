"""What a robots.txt lets us read, by RFC 9309."""

import pytest
from endless import must_end

from commons.robots import DELAY_MAX_SECONDS, READ_MAX_BYTES, Rules, read_rules


def everybody(*lines: str) -> Rules:
    return read_rules("\n".join(("User-agent: *", *lines)).encode())


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        (["Disallow: /"], "/outbox", False),
        (["Disallow:"], "/outbox", True),
        (["Disallow: /out"], "/outbox?page=1", False),
        (["Disallow: /out"], "/Outbox", True),
        (["Disallow: /out"], "/in/out", True),
        (["Disallow: /", "Allow: /outbox"], "/outbox?page=1", True),
        (["Allow: /outbox", "Disallow: /"], "/outbox?page=1", True),
        (["Allow: /", "Disallow: /outbox"], "/outbox", False),
        (["Allow: /outbox", "Disallow: /outbox"], "/outbox", True),
        (["Disallow: /*/private"], "/members/private/x", False),
        (["Disallow: /*/private"], "/private", True),
        (["Disallow: /*.json$"], "/a.json", False),
        (["Disallow: /*.json$"], "/a.json.b", True),
        (["Disallow: /*.json$"], "/a.json/b.json", False),
        (["Disallow: /a$"], "/a", False),
        (["Disallow: /a$"], "/ab", True),
        (["Disallow: *page="], "/outbox?page=2", False),
        (["Disallow: /ab*b$"], "/ab", True),
        (["Disallow: /~ines"], "/%7Eines/1", False),
        (["Disallow: /%7eines"], "/~ines/1", False),
        (["Disallow: /gràcia"], "/gr%C3%A0cia", False),
        (["Disallow: /a%2fb"], "/a%2Fb", False),
        (["Disallow: /a%2fb"], "/a/b", True),
        (["disallow : /x # not this"], "/x", False),
        (["Disallow: /x"], "/y", True),
        (["what is this", "Sitemap: /x", "Disallow: /y"], "/y", False),
    ],
)
def test_the_longest_rule_says_whether_a_path_is_read(
    rules: list[str], path: str, *, allowed: bool
) -> None:
    assert everybody(*rules).allow(path) is allowed


def test_rules_for_us_go_before_those_for_everybody() -> None:
    text = """
    User-agent: *
    Disallow: /

    User-agent: Other
    User-agent: localpay
    Disallow: /here

    User-agent: LocalPay
    Disallow: /there
    """
    rules = read_rules(text.encode())
    assert [rules.allow(path) for path in ("/", "/here", "/there")] == [True, False, False]


def test_rules_for_others_say_nothing_to_us() -> None:
    assert read_rules(b"User-agent: LocalPayer\nDisallow: /\n").allow("/")
    assert read_rules(b"Disallow: /\n").allow("/")
    assert read_rules(b"User-agent: LocalPay\nUser-agent: *\nUser-agent: A\nAllow: /").allow("/")


def test_every_kind_of_line_end_and_a_byte_order_mark_are_read() -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        assert not read_rules(end.join([b"\xef\xbb\xbfUser-agent: *", b"Disallow: /x"])).allow("/x")


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", b"<html>: </html>", b":\n:::\n" * 99])
def test_what_is_no_robots_txt_refuses_nothing(body: bytes) -> None:
    assert read_rules(body).allow("/outbox")


def test_no_more_than_64_kib_are_read_and_no_rule_is_cut_in_two() -> None:
    head = b"User-agent: *\nDisallow: /early\n"
    filler = b"#" * (READ_MAX_BYTES - len(head) - len(b"\nDisallow: /")) + b"\n"
    rules = read_rules(head + filler + b"Disallow: /late\nDisallow: /later\n")
    assert [rules.allow(path) for path in ("/early", "/late", "/other")] == [False, True, True]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("5", 5), ("0.5", 0.5), ("86400", DELAY_MAX_SECONDS), ("-1", 0), ("soon", 0), ("1e9", 0)],
)
def test_a_crawl_delay_is_obeyed_up_to_a_minute(value: str, seconds: float) -> None:
    assert everybody(f"Crawl-delay: {value}").delay_seconds == seconds


def test_many_stars_are_matched_in_the_end() -> None:
    rules = everybody("Disallow: /" + "*a" * 1000 + "b$")
    with must_end(1):
        assert rules.allow("/" + "a" * 2000)
