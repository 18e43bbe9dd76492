"""A domain has one spelling, in whichever of its many ways it is written."""

import pytest

from commons.errors import InvalidError
from crawler.domains import canonical, covering

SPELLINGS = (
    "evil.example",
    "EVIL.Example",
    "evil.example.",
    " evil.example\n",
    ".evil.example",
    "*.evil.example",
    "evil.example:8443",
    "evil.example:443",
    "https://evil.example",
    "https://EVIL.example./users/x?y#z",
    "https:evil.example/x",
    "https:\\\\evil.example\\x",
    "//evil.example/x",
    "evil.example/x",
    "evil.example?x",
    "https://user:secret@evil.example:8443/x",
    "https://good.example@evil.example/",
    "acct:ines@evil.example",
    "@ines@evil.example",
    "\uff45\uff56\uff49\uff4c.example",
    "evil。example",
    "evil\uff0eexample\uff61",
    "ev\u00adil.example",
    "ev\u200bil.exa\ufeffmple",
    "e\u200dvil\u200c.example",
    "%65vil.example",
    "ⓔvil.example",
    "\U0001d41e\U0001d42f\U0001d422\U0001d425.example",
)

SAME = (
    ("bücher.example", "xn--bcher-kva.example"),
    ("BU\u0308CHER.example", "xn--bcher-kva.example"),
    ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
    ("straße.example", "strasse.example"),
    ("STRASSE.example", "strasse.example"),
    ("xn--strae-oqa.example", "strasse.example"),
    ("STRAẞE.example", "strasse.example"),
    ("βόλος.example", "xn--nxasmq6b.example"),
    ("xn--nxasmm1c.example", "xn--nxasmq6b.example"),
    ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
    ("8.8.4.4", "8.8.4.4"),
    ("134743044", "8.8.4.4"),
    ("0x08080404", "8.8.4.4"),
    ("0X8.0x8.0x4.0x4", "8.8.4.4"),
    ("010.010.04.04", "8.8.4.4"),
    ("8.8.1028", "8.8.4.4"),
    ("8.525316", "8.8.4.4"),
    ("\uff18\uff0e\uff18\uff0e\uff14\uff0e\uff14", "8.8.4.4"),
    ("http://8.8.4.4.:80/", "8.8.4.4"),
    ("[::ffff:8.8.4.4]", "8.8.4.4"),
    ("::ffff:808:404", "8.8.4.4"),
    ("[2620:00FE:0::0:fe]", "2620:fe::fe"),
    ("2620:fe::fe", "2620:fe::fe"),
    ("https://[2620:FE::FE]:8443/x", "2620:fe::fe"),
    ("2620:fe:0:0:0:0:0:fe%eth0", "2620:fe::fe"),
)

NONE = (
    "",
    "  ",
    ".",
    "https://",
    "evil..example",
    "evil example",
    "evil.example:port",
    "a" * 64 + ".example",
    ".".join(["abcdefgh"] * 30),
    "256.1.1.1",
    "1.2.3.4.5",
    "09.1.1.1",
    "0xg.1",
    "1:2:3",
    "xn--\u00e4.example",
    "e\u2028vil.example",
    "evil\ud800.example",
)


@pytest.mark.parametrize("written", SPELLINGS)
def test_all_spellings_of_a_domain_are_one(written: str) -> None:
    assert canonical(written) == "evil.example"
    assert "evil.example" in covering(written)


@pytest.mark.parametrize(("written", "plain"), SAME)
def test_all_spellings_of_other_names_and_addresses_are_one(written: str, plain: str) -> None:
    assert canonical(written) == plain
    assert canonical(plain) == plain


@pytest.mark.parametrize("written", NONE)
def test_what_is_no_domain_is_refused_and_covered_by_none(written: str) -> None:
    with pytest.raises(InvalidError):
        canonical(written)
    assert covering(written) == ()


def test_a_domain_covers_what_is_below_it_and_nothing_beside_it() -> None:
    assert covering("a.b.evil.example") == (
        "a.b.evil.example",
        "b.evil.example",
        "evil.example",
        "example",
    )
    assert "evil.example" not in covering("notevil.example")
    assert "evil.example" not in covering("evil.example.org")
    assert covering("8.8.4.4") == ("8.8.4.4",)
