# ruff: noqa: RUF001 - letters of other alphabets look like Latin ones
"""One currency under all its names: codes, symbols, Wikidata items, asset ids; the hour too; pure.

Sources: ISO 4217 for the codes of national money, CAIP-2 and CAIP-19 for chains and assets,
SLIP-0044 for the numbers of coins. The Wikidata items of national money are those of Wikivoyage's
table of currencies, the coins' those of OpenStreetMap's data items and of ethereum.org; a currency
that has none there is known by its other names alone.
"""

import re
from dataclasses import dataclass
from typing import Final

from commons.money import CurrencyKind
from commons.remembering import remembered

# ISO 4217, the codes of money in circulation (no metals, funds and test codes).
NATIONAL_CODES: Final = frozenset(
    """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN
    BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP
    GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS
    KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR
    MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF
    SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD
    TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG""".split()  # noqa: SIM905 (154 lines would say no more)
)

# Codes that are words too, where they are not in capitals: `cup` is hardly Cuban money.
CODES_LIKE_WORDS: Final = frozenset(
    """ALL AMD ANG BAM BOB COP CUP GEL GIP KID LAK MAD MOP MUR NAD PEN RON RUB SOS TOP TRY VES YER
    DAI DASH SOL""".split()  # noqa: SIM905 (as above)
)

_HOUR_ITEM: Final = "25235"
# Code and item, without its Q. The rouble of Belarus has two, of the currency and of its last
# issue, and both are in use.
_NATIONAL_ITEMS: Final = """
    AED 200294 AFN 199471 ALL 125999 AMD 130498 ANG 522701 AOA 200337 ARS 199578 AUD 259502
    AWG 232270 AZN 483725 BAM 179620 BBD 194351 BDT 194453 BGN 172540 BHD 201871 BIF 238007
    BMD 210478 BND 206319 BOB 200737 BRL 173117 BSD 194339 BTN 201799 BWP 186794 BYN 160680
    BYN 21531507 BZD 275112 CAD 1104069 CDF 4734 CHF 25344 CLP 200050 CNY 39099 COP 244819
    CRC 242915 CUP 201505 CVE 4591 CZK 131016 DJF 4594 DKK 25417 DOP 242922 DZD 199674 EGP 199462
    ERN 171503 ETB 206243 EUR 4916 FJD 4592 FKP 330044 GBP 25224 GEL 4608 GHS 183530 GIP 41429
    GMD 202885 GNF 213311 GTQ 207396 GYD 213005 HKD 31015 HNL 4719 HTG 203955 HUF 47190 IDR 41588
    ILS 131309 INR 80524 IQD 193094 IRR 188608 ISK 131473 JMD 209792 JOD 203722 JPY 8146
    KES 202882 KGS 35881 KHR 204737 KMF 267264 KPW 106720 KRW 202040 KWD 193098 KYD 319885
    KZT 173751 LAK 200055 LBP 201880 LKR 4596 LRD 242988 LSL 208039 LYD 190699 MAD 200192
    MDL 181129 MGA 4584 MKD 177875 MMK 201875 MNT 183435 MOP 241214 MRU 207024 MUR 212967
    MVR 206600 MWK 211694 MXN 4730 MYR 163712 MZN 200753 NAD 202462 NGN 203567 NIO 207312
    NOK 132643 NPR 202895 NZD 1472704 OMR 272290 PAB 210472 PEN 204656 PGK 200759 PHP 17193
    PKR 188289 PLN 123213 PYG 207514 QAR 206386 RON 131645 RSD 172524 RUB 41044 RWF 4741 SAR 199857
    SBD 4597 SCR 4595 SDG 271206 SEK 122922 SGD 190951 SHP 374453 SOS 4603 SRD 202036 SSP 244366
    STN 193712 SVC 829043 SYP 240468 SZL 4823 THB 177882 TJS 199886 TMT 486637 TND 4602 TOP 4613
    TRY 172872 TTD 242890 TWD 208526 TZS 4589 UAH 81893 UGX 4598 USD 4917 UYU 209272 UZS 487888
    VES 56349362 VND 192090 VUV 207523 WST 4588 XAF 847739 XCD 26365 XOF 861690 XPF 214393
    YER 240512 ZAR 181907"""
_CRYPTO_ITEMS: Final = """
    BTC 131723 ETH 16783523 LTC 4043030 DOGE 15377916 ZEC 27148141 XTZ 55290870"""

# Code and CAIP-19 asset, its usual id first; the tokens are those of Ethereum's main chain.
_ASSETS: Final = """
    BTC bip122:000000000019d6689c085ae165831e93/slip44:0
    LTC bip122:12a765e31ffd4059bada1e25190f6e98/slip44:2
    DOGE bip122:00000000001a91e3dace36e2be3bf030/slip44:3
    DOGE bip122:1a91e3dace36e2be3bf030a65679fe82/slip44:3
    DASH bip122:000007d91d1254d60e2dd1ae58038307/slip44:5
    ETH eip155:1/slip44:60
    XMR monero:418015bb9ae982a1975da7d79277c270/slip44:128
    ZEC bip122:00040fe8ec8471911baa1db1266ea15d/slip44:133
    BCH bip122:000000000000000000651ef99cb9fcbe/slip44:145
    SOL solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/slip44:501
    XTZ tezos:NetXdQprcVkpaWU/slip44:1729
    DAI eip155:1/erc20:0x6b175474e89094c44da98b954eedeac495271d0f
    USDC eip155:1/erc20:0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48
    USDT eip155:1/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7"""

# Only what stands for one currency; $, ¥ and kr are in `AMBIGUOUS_SYMBOLS`.
SYMBOLS: Final = {
    "€": "EUR", "£": "GBP", "₹": "INR", "₽": "RUB", "₩": "KRW", "₪": "ILS", "₫": "VND",
    "₴": "UAH", "₺": "TRY", "₦": "NGN", "₱": "PHP", "₡": "CRC", "₲": "PYG", "₵": "GHS",
    "₭": "LAK", "₮": "MNT", "₸": "KZT", "₼": "AZN", "₾": "GEL", "฿": "THB", "៛": "KHR",
    "৳": "BDT", "֏": "AMD", "؋": "AFN", "zł": "PLN", "kč": "CZK", "円": "JPY", "원": "KRW",
    "us$": "USD", "ca$": "CAD", "au$": "AUD", "nz$": "NZD", "hk$": "HKD", "nt$": "TWD",
    "r$": "BRL", "mx$": "MXN", "₿": "BTC", "ξ": "ETH",
}  # fmt: skip
_DOLLARS: Final = frozenset(
    """AUD BBD BMD BND BSD BZD CAD FJD GYD HKD JMD KYD LRD NAD NZD SBD SGD SRD TTD TWD USD
    XCD""".split()  # noqa: SIM905 (as above)
)
_PESOS: Final = frozenset({"ARS", "CLP", "COP", "CUP", "DOP", "MXN", "PHP", "UYU"})
_KRONER: Final = frozenset({"DKK", "ISK", "NOK", "SEK"})
# Symbols and words of several currencies: what they mean, a group's own currency may tell.
AMBIGUOUS_SYMBOLS: Final = {
    "$": (_DOLLARS | _PESOS) - {"PHP"},
    "¥": frozenset({"CNY", "JPY"}),
    "元": frozenset({"CNY", "TWD"}),
    "₨": frozenset({"INR", "LKR", "MUR", "NPR", "PKR", "SCR"}),
    "kr": _KRONER,
    "krona": _KRONER,
    "kronor": _KRONER,
    "krone": _KRONER,
    "kroner": _KRONER,
    "lei": frozenset({"MDL", "RON"}),
    "руб": frozenset({"BYN", "RUB"}),
    "dollar": _DOLLARS,
    "dollars": _DOLLARS,
    "dólares": _DOLLARS,
    "peso": _PESOS,
    "pesos": _PESOS,
    "pound": frozenset({"EGP", "FKP", "GBP", "GIP", "LBP", "SDG", "SHP", "SSP", "SYP"}),
    "pounds": frozenset({"EGP", "FKP", "GBP", "GIP", "LBP", "SDG", "SHP", "SSP", "SYP"}),
    "franken": frozenset({"CHF"}),
    "ft": frozenset({"HUF"}),
    "fr": frozenset({"CHF", "XAF", "XOF", "XPF"}),
    "francs": frozenset({"CHF", "XAF", "XOF", "XPF"}),
    "rupees": frozenset({"INR", "LKR", "MUR", "NPR", "PKR", "SCR"}),
}

_HOUR_WORDS: Final = frozenset(
    {
        "h",
        "hr",
        "hour",
        "hours",
        "hur",  # UN/ECE recommendation 20
        "om2:hour",
        "http://www.ontology-of-units-of-measure.org/resource/om-2/hour",
        "http://qudt.org/vocab/unit/hr",
    }
)
_WIKIDATA: Final = re.compile(
    r"(?:https?://(?:www\.|m\.)?wikidata\.org/(?:wiki/Special:EntityData/|wiki/|entity/)|wd:)"
    r"Q([0-9]{1,12})",
    re.IGNORECASE,
)
_CAIP: Final = "caip:19:"
_ASSET: Final = re.compile(
    r"[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}/[-a-z0-9]{3,8}:[-.%a-zA-Z0-9]{1,128}"
    r"(?:/[-.%a-zA-Z0-9]{1,78})?"
)
_REMEMBERED: Final = 4096  # names: an index in the making asks for the same ones all the time
_LONGEST_REMEMBERED: Final = 200
_WITHOUT_CASE: Final = "eip155:"  # addresses of this family are hexadecimal numbers


@dataclass(frozen=True)
class Unit:
    """National money, a crypto currency or the hour.

    `code` is of ISO 4217 or as traders write it, "h" for the hour; `uri` is a crypto currency's
    asset with its prefix.
    """

    kind: CurrencyKind
    code: str
    uri: str | None = None


HOUR: Final = Unit(CurrencyKind.TIME, "h")


@remembered(_REMEMBERED, _LONGEST_REMEMBERED)
def unit_of(name: str) -> Unit | None:
    """Return what any of its names stands for, None where it is no currency known here.

    A name is a code in any case, a symbol that only one currency has, a Wikidata item's address,
    a CAIP-19 asset with its prefix or without, or a name of the hour.
    """
    name = name.strip()
    if item := _WIKIDATA.fullmatch(name):
        return _ITEMS.get(item[1])
    if asset := asset_of(name):
        return _BY_ASSET.get(asset)
    if name.lower() in _HOUR_WORDS:
        return HOUR
    return _BY_CODE.get(name.upper()) or _BY_CODE.get(SYMBOLS.get(name.lower(), ""))


def asset_of(name: str) -> str | None:
    """Return the one spelling of a CAIP-19 asset id, with its prefix; None for anything else."""
    asset = name.removeprefix(_CAIP)
    if asset == name and not _ASSET.fullmatch(name):
        return None
    return _CAIP + (asset.lower() if asset.startswith(_WITHOUT_CASE) else asset)


@remembered(_REMEMBERED, _LONGEST_REMEMBERED)
def one_spelling(name: str) -> str:
    """Return a currency's URI in its one spelling, a code in upper case."""
    name = name.strip()
    if item := _WIKIDATA.fullmatch(name):
        return f"http://www.wikidata.org/entity/Q{item[1]}"
    if asset := asset_of(name):
        return asset
    return name if is_uri(name) else name.upper()


def is_wikidata(name: str) -> bool:
    """Tell whether a name is the address of a Wikidata item, of whatever thing."""
    return _WIKIDATA.fullmatch(name) is not None


def is_uri(name: str) -> bool:
    """Tell whether a currency's name is an address or an asset id, and no code."""
    return name.startswith(("https://", "http://", _CAIP)) or asset_of(name) is not None


def _pairs(table: str) -> list[tuple[str, str]]:
    words = table.split()
    return list(zip(words[::2], words[1::2], strict=True))


# The first of a coin's asset ids is its own.
_COINS: Final = {
    code: Unit(CurrencyKind.CRYPTO, code, _CAIP + asset)
    for code, asset in reversed(_pairs(_ASSETS))
}
_BY_ASSET: Final = {_CAIP + asset: _COINS[code] for code, asset in _pairs(_ASSETS)}
_NATIONAL: Final = {code: Unit(CurrencyKind.NATIONAL, code) for code in NATIONAL_CODES}
_BY_CODE: Final = _COINS | _NATIONAL | {"XBT": _COINS["BTC"]}
_ITEMS: Final = {item: _BY_CODE[code] for code, item in _pairs(_NATIONAL_ITEMS + _CRYPTO_ITEMS)} | {
    _HOUR_ITEM: HOUR
}
