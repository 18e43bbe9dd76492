"""The address guard: every trick by which an address looks public and is not."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commons.addresses import check_addresses, is_loopback, is_public, read_target
from commons.errors import AddressRefusedError

NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - an address that is refused
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.1.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "2620:4f:8000::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "2a00::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "100.128.0.1", "172.32.0.1", "2a00:1450::1", "2001:4860::8888"]


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_a_special_address_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_an_ordinary_address_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", ["127.0.0.1", "127.8.8.8", "::1"])
def test_only_plain_loopback_is_loopback(text: str) -> None:
    assert is_loopback(ip_address(text))
    assert check_addresses("here", [text], allow_loopback=True) == [ip_address(text)]
    with pytest.raises(AddressRefusedError):
        check_addresses("here", [text], allow_loopback=False)


@pytest.mark.parametrize("text", [text for text in NOT_PUBLIC if not is_loopback(ip_address(text))])
def test_the_development_setting_opens_nothing_but_loopback(text: str) -> None:
    with pytest.raises(AddressRefusedError):
        check_addresses("here", [text], allow_loopback=True)


@pytest.mark.parametrize("bad", ["10.0.0.1", "::1", "fe80::1%eth0", "no address"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_answer_among_good_ones_refuses_all(bad: str, place: int) -> None:
    answers = ["8.8.8.8", "2a00:1450::1"]
    assert len(check_addresses("hub.example", answers, allow_loopback=False)) == 2
    answers.insert(place, bad)
    with pytest.raises(AddressRefusedError):
        check_addresses("hub.example", answers, allow_loopback=False)


def test_no_answer_is_refused() -> None:
    with pytest.raises(AddressRefusedError):
        check_addresses("hub.example", [], allow_loopback=True)


@given(st.ip_addresses(v=4))
def test_no_public_ipv4_address_is_one_that_python_knows_as_special(address: object) -> None:
    plain = ip_address(str(address))
    assert not is_public(plain) or (plain.is_global and not plain.is_multicast)


@given(st.ip_addresses(v=6))
def test_no_public_ipv6_address_is_one_that_python_knows_as_special(address: object) -> None:
    plain = ip_address(str(address))
    assert not is_public(plain) or (plain.is_global and not plain.is_multicast)


REFUSED_URLS = [
    "http://hub.example/",
    "ftp://hub.example/",
    "file:///etc/passwd",
    "gopher://hub.example/",
    "data:application/json,{}",
    "//hub.example/",
    "/actor",
    "",
    "https://",
    "https:///actor",
    "https://hub.example:8443/",
    "https://hub.example:0/",
    "https://hub.example:80/",
    "https://hub.example:99999/",
    "https://hub.example:x/",
    "https://user@hub.example/",
    "https://user:secret@hub.example/",
    "https://@hub.example/",
    "https://hub.example@10.0.0.1/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://010.8.8.8/",
    "https://8.8.8.8.8/",
    "https://127.0.0.1./",
    "https://1.0x/",
    "https://127。0。0。1/",
    "https://\uff11\uff12\uff17.0.0.1/",  # full-width digits
    "https://①②⑦.0.0.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fec0::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[2a00::1%25eth0]/",
    "https://[::1/",
    "https://%31%32%37.0.0.1/",
    "https://127%2e0.0.1/",
    "https://hub.example%00.evil.example/",
    "https://hub.example\\@10.0.0.1/",
    "https://hub example/",
    "https://hub..example/",
    "https://-hub.example/",
    "https://hub.example\n/",
    "https://hub.example/" + "a" * 2048,
]


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_a_url_that_may_not_be_asked_for_is_refused_and_finally(url: str) -> None:
    with pytest.raises(AddressRefusedError) as caught:
        read_target(url, allow_loopback=False)
    assert caught.value.final


@pytest.mark.parametrize(
    ("url", "wire"),
    [
        ("https://HUB.example:443/a?b=c#d", "https://hub.example/a?b=c"),
        ("https://hub.example", "https://hub.example/"),
        ("https://hub.example?@=1", "https://hub.example/?@=1"),
        ("https://hub.example/@ann", "https://hub.example/@ann"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2a00:1450::1]/", "https://[2a00:1450::1]/"),
    ],
)
def test_a_url_is_taken_apart_as_it_goes_on_the_wire(url: str, wire: str) -> None:
    target = read_target(url, allow_loopback=False)
    assert (target.url, target.port, target.scheme) == (wire, 443, "https")
    assert target.url == f"https://{target.authority}{target.path}"


@pytest.mark.parametrize(
    ("url", "authority", "port"),
    [
        ("http://127.0.0.1:8081/actor", "127.0.0.1:8081", 8081),
        ("http://[::1]:8081/actor", "[::1]:8081", 8081),
        ("http://localhost/actor", "localhost", 80),
        ("https://hub.example:8443/actor", "hub.example:8443", 8443),
    ],
)
def test_development_opens_http_and_other_ports(url: str, authority: str, port: int) -> None:
    target = read_target(url, allow_loopback=True)
    assert (target.authority, target.port) == (authority, port)


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1/", "http://127.1/", "http://[::ffff:127.0.0.1]/", "ftp://127.0.0.1/"],
)
def test_development_opens_nothing_else(url: str) -> None:
    with pytest.raises(AddressRefusedError):
        read_target(url, allow_loopback=True)


@given(st.text(max_size=60).map("https://".__add__) | st.text(max_size=60))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    try:
        target = read_target(text, allow_loopback=False)
    except AddressRefusedError:
        return
    assert target.url.isascii()
    assert target.port == 443
