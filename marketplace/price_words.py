# ruff: noqa: RUF001 - letters of other alphabets look like Latin ones
"""The words in which prices are told, in the languages that listings are written in."""

from decimal import Decimal
from typing import Final

from marketplace.payment import PaymentMeans


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> frozenset[str]:
    return frozenset(" ".join(phrase.split()) for phrase in text.split(";"))


_GIFT: Final = _phrases(
    """free; for free; free of charge; gift; as a gift; giveaway; give away; to give away;
    nothing; no charge; gratis; umsonst; kostenlos; kostenfrei; geschenkt; geschenk;
    zu verschenken; verschenke; zum verschenken; gratuit; gratuite; gratuitement; don; à donner;
    je donne; cadeau; gratuito; gratuita; gratuitamente; regalo; se regala; lo regalo;
    para regalar; gratuït; gratuïta; de franc; de regal; regal; a donar; in regalo; regalasi;
    si regala; omaggio; grátis; de graça; oferta gratuita; dou; para doar; gratis af te halen;
    weggeven; weg te geven; kosteloos; ücretsiz; bedava; parasız; hediye; бесплатно; даром;
    отдам даром; в дар; в подарок; безкоштовно; مجاني; مجانا; مجانًا; مجانية; بالمجان; هدية;
    חינם; בחינם; ללא תשלום; מתנה; למסירה; za darmo; bezpłatnie; zdarma; ingyen; ingyenes;
    ilmainen; ilmaiseksi; skänkes; bortskänkes; gis bort; doan; dohainik; δωρεάν;
    無料; 免费; 免費; 무료"""
)
_BARTER: Final = _phrases(
    """barter; by barter; swap; to swap; for swap; exchange; in exchange; trade; for trade;
    tausch; zum tausch; im tausch; gegen tausch; tauschen; tauschgeschäft; nur tausch; échange;
    en échange; à échanger; contre échange; troc; intercambio; a cambio; trueque; permuta;
    intercanvi; a canvi; bescanvi; barata; baratto; scambio; in cambio; troca; em troca; trocas;
    ruil; ruilen; ruilhandel; te ruil; om te ruilen; in ruil; takas; takas olur; takaslık; бартер;
    обмен; на обмен; обмін; مقايضة; للمقايضة; تبادل; للتبادل; החלפה; להחלפה; סחר חליפין;
    wymiana; na wymianę; výměna; výměnou; csere; vaihto; byte; bytes; bytte; trukea;
    ανταλλαγή; 物々交換; 交換; 交换; 교환"""
)
# What promises a price and tells none.
_ASKED: Final = _phrases(
    """request a quote; on request; price on request; upon request; ask; ask me; ask for price;
    negotiable; to be agreed; to be discussed; by agreement; make an offer; make me an offer;
    best offer; donation; by donation; pay what you want; pay what you can; varies; tbd; tba;
    auf anfrage; preis auf anfrage; nach absprache; nach vereinbarung; verhandlungssache; vb; vhb;
    spende; gegen spende; sur demande; sur devis; prix sur demande; à débattre; à convenir;
    à discuter; prix libre; participation libre; a convenir; a consultar; consultar; negociable;
    a negociar; según acuerdo; bajo demanda; aportación voluntaria; donativo; a concretar;
    preu a convenir; a parlar; segons acord; a demanda; la voluntat; da concordare;
    da definire; su richiesta; trattabile; offerta libera; a combinar; sob consulta; negociável;
    op aanvraag; in overleg; bieden; prijs op aanvraag; teklif isteyin;
    pazarlıklı; fiyat sorunuz; по договорённости; по договоренности; договорная; по запросу;
    حسب الاتفاق; قابل للتفاوض; عند الطلب; לפי הסכם; מחיר לפי בקשה; לפי סיכום"""
)
PHRASES: Final = (
    dict.fromkeys(_GIFT, PaymentMeans.GIFT)
    | dict.fromkeys(_BARTER, PaymentMeans.BARTER)
    | dict.fromkeys(_ASKED, PaymentMeans.UNSPECIFIED)
)

HOURS_IN_WORDS: Final = {
    phrase: Decimal(hours)
    for hours, phrases in {
        "0.5": """half an hour; a half hour; half hour; halbe stunde; eine halbe stunde;
            demi heure; une demi heure; demi-heure; une demi-heure; media hora; mitja hora;
            mezz'ora; mezza ora; mezzora; meia hora; half uur; een half uur; halfuur;
            yarım saat; полчаса; نصف ساعة; חצי שעה; pół godziny""",
        "1": """one hour; an hour; eine stunde; une heure; una hora; un'ora; uma hora; een uur;
            één uur; bir saat; один час; ساعة واحدة; שעה אחת""",
        "1.5": """one and a half hours; an hour and a half; anderthalb stunden;
            eineinhalb stunden; une heure et demie; hora y media; una hora y media;
            un'ora e mezza; uma hora e meia; anderhalf uur; bir buçuk saat; полтора часа;
            ساعة ونصف; שעה וחצי""",
        "2": "two hours; zwei stunden; deux heures; dos horas; dues hores; due ore; duas horas; "
        "twee uur; iki saat; два часа; ساعتان; ساعتين; שעתיים",
    }.items()
    for phrase in _phrases(phrases)
}

HOURS: Final = _words(
    """h hs hr hrs hour hours std stunde stunden heure heures hora horas hores ora ore
    uur uren saat saati час часа часов ч година години годин годину ساعة ساعات
    שעה שעות godz godzina godziny godzin hodina hodiny hodin óra timme timmar timer tunti tuntia
    ordu ώρα ώρες 小时 小時 時間 시간"""
)
MINUTES: Final = _words(
    """min mins minute minutes minuten minuto minutos minuts minuti minuut dakika dk мин минут
    минуты минута хвилин دقيقة دقائق דקה דקות minut minuty minuta perc 分钟 分鐘 분"""
)

CURRENCY_WORDS: Final = {
    word: code
    for code, words in {
        "EUR": "euro euros eurs eur euri euró eurot евро євро يورو אירו יורו ευρώ",
        "GBP": "quid gbp",
        "CHF": "sfr chf stutz",
        "PLN": "złoty złote złotych zloty zlotych pln",
        "CZK": "korun koruna koruny czk",
        "HUF": "forint huf",
        "BRL": "reais brl",
        "ILS": "nis shekel shekels שקל שקלים شيكل شيقل",
        "TRY": "tl",
        "UAH": "грн гривень гривні гривня",
        "JPY": "yen yens jpy",
        "CNY": "yuan rmb cny 人民币",
        "USD": "usd",
        "CAD": "cad",
        "AUD": "aud",
        "NZD": "nzd",
        "DKK": "dkk",
        "MXN": "mxn",
        "INR": "inr",
        "BTC": "btc xbt bitcoin bitcoins",
        "ETH": "eth ether",
        "LTC": "ltc litecoin litecoins",
        "DOGE": "doge dogecoin dogecoins",
        "XMR": "xmr monero",
        "BCH": "bch",
        "USDC": "usdc",
        "USDT": "usdt",
    }.items()
    for word in words.split()
}
# Hundredths: of which currency, if it is a group's own; of one that nobody else calls so.
_CENTS: Final = _words(
    "AUD BBD BSD BZD CAD EUR FJD HKD JMD KES LKR MUR NAD NZD SGD TTD TWD USD XCD ZAR"
)
HUNDREDTHS: Final = {
    **dict.fromkeys(("¢", "c", "ct", "cts", "cent", "cents"), _CENTS),
    "p": frozenset({"GBP"}),
}
SURE_HUNDREDTHS: Final = {
    "eurocent": "EUR",
    "eurocents": "EUR",
    "pence": "GBP",
    "rappen": "CHF",
    "groszy": "PLN",
    "grosze": "PLN",
}
# What may stand before an amount and leave it what it is: a price, the least one, about so much.
BEFORE: Final = _words(
    """ab from starting at ca circa approx approximately about around etwa ungefähr rund à partir
    de dès desde des a da vanaf od от около примерно начиная unos unas uns aprox aproximadamente
    environ env yaklaşık ongeveer minimum mindestens ~ ± price preis prix precio preu prezzo
    preço prijs fiyat цена السعر מחיר : for für pour por per voor за nur only seulement solo sólo
    només solamente alleen sadece только je each pro chaque cada in en em в من"""
)
TO: Final = _words("- – — bis to à a hasta fins fino até tot do до إلى עד ~")
EACH_TO_SOME: Final = _words("a à")
# After the unit: what begins a "for each …", and what may close a price.
FOR_EACH: Final = _words(
    """/ per pro par por je each the le la les el lo il das die der den het al a à cada chaque
    za за لكل ל"""
)
AFTER: Final = _words(
    """vb vhb fp fest festpreis obo ono or best offer negotiable neg each apiece stück stk st
    pièce pce unité unidad ud unitat cadauno cadauna cada chacun una uno pz pezzo unidade stuk
    adet tanesi шт штука negociable débattre à trattabile trattabili tratt negociável
    onderhandelbaar pazarlık торг p pp"""
)
OR: Final = ("or", "oder", "bzw", "ou", "o", "of", "или", "veya", "או", "أو", "або", "lub", "eller")
