"""The words that tell a place or a distance, in the languages of the gazetteer."""

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What comes before a place, wherever in the text it stands.
BEFORE: Final = """
near|near to|nearby|close to|around|next to|in the area of|vicinity of|in the vicinity of
nahe|nahe bei|nähe|in der nähe von|in der naehe von|unweit von|in der umgebung von|rund um|raum
près de|près d|proche de|proche d|à côté de|autour de|autour d|aux environs de|aux alentours de
cerca de|cerca|alrededor de|en los alrededores de|junto a|prop de|prop d|a prop de|a la vora de
perto de|perto do|perto da|preto de|próximo a|próximo de|ao redor de|arredor de|nos arredores de
vicino a|vicino ad|vicino|nei pressi di|nei dintorni di|attorno a|intorno a
in de buurt van|nabij|dichtbij|dicht bij|rondom|rond|in de omgeving van|omgeving
nära|i närheten av|runt|omkring|nær|i nærheden af|i nærheten av|tæt på|lähellä
koło|blisko|niedaleko|niedaleko od|obok|w pobliżu|w okolicy|w okolicach|okolice
blízko|poblíž|v blízkosti|nedaleko|nedaleko od|v okolí|okolí|kolem
lângă|aproape de|în apropiere de|în apropierea|în jurul
рядом с|рядом со|около|возле|вблизи|недалеко от|в районе|близ
біля|поблизу|поруч з|неподалік від|недалеко від|коло
κοντά σε|κοντά στη|κοντά στην|κοντά στο|κοντά στον|κοντά στα|γύρω από
بالقرب من|قرب|قريب من|قريبا من|حول|بجوار
"""  # noqa: RUF001 (letters of those languages)

# What comes behind a place; that which is written without a space too.
BEHIND: Final = """
közelében|közelébe|környékén|mellett|körül|yakınında|yakınlarında|civarında|çevresinde
inguruan|gertu|ondoan|lähellä|lähistöllä
"""  # noqa: RUF001 (letters of those languages)
GLUED: Final = "附近的|附近|周边的|周边|付近の|付近|の近くの|の近く|周辺の|周辺|近郊の|近郊"

# What is said of much besides places, with the countries where it is said: small towns are looked
# for in these alone.
_HERE: Final = _words("GB IE US CA AU NZ ZA MT DE AT CH LI LU IT SM NL BE")
_GERMAN: Final = _words("DE AT CH LI LU")
_FRENCH: Final = _words("FR BE CH LU MC CA")
_SPANISH: Final = _words("ES AD MX AR CO PE CL EC GT CU BO DO HN PY SV NI CR PA UY VE PR")
_PORTUGUESE: Final = _words("PT BR AO MZ CV")
_ITALIAN: Final = _words("IT CH SM VA")
_GREEK: Final = _words("GR CY")
_ARAB: Final = _words("EG SA AE MA DZ TN LY JO LB SY IQ KW QA BH OM YE SD PS")
WEAK: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(_words("in at"), _HERE),
    **dict.fromkeys(_words("à vers"), _FRENCH),
    **dict.fromkeys(_words("em no na"), _PORTUGUESE),
    **dict.fromkeys(_words("presso zona"), _ITALIAN),
    **dict.fromkeys(_words("σε στη στην στο στον"), _GREEK),
    **dict.fromkeys(_words("a ad"), (_ITALIAN | _FRENCH | _words("ES AD")) - {"CA"}),
    **dict.fromkeys(_words("i vid ved"), _words("SE DK NO FI")),
    **dict.fromkeys(_words("bij te"), _words("NL BE")),
    **dict.fromkeys(_words("în la"), _words("RO MD")),
    "bei": _GERMAN,
    "en": _SPANISH,
    "u": _words("CZ SK"),
    "في": _ARAB,
}
# Those whose letters are a common word of another language: they tell a place there only.
THERE_ONLY: Final = _words("a ad i vid ved no na te la u")

# What comes before a distance, and what between a distance and its place.
WITHIN: Final = """
within|in|inside|up to|at most|less than|max|im umkreis von|umkreis|bis|innerhalb von|höchstens
dans un rayon de|à moins de|à|a|a menos de|en un radio de|en un radi de|num raio de|até
entro|nel raggio di|binnen|binnen een straal van|inom|inden for|innen|w promieniu|do
v okruhu|pe o rază de|la|в радиусе|в пределах|в радіусі|σε ακτίνα|في نطاق
"""
FROM: Final = """
of|from|um|von|de|d|del|da|dal|di|do|van|från|fra|af|av|od|от|від|από|من
"""
NUMBER: Final = r"(\d{1,4}(?:[.,]\d{1,2})?)[ -]?(\D*)"
KM_OF: Final[dict[str, float]] = {
    **dict.fromkeys(
        _words(
            """km kms kilometer kilometers kilometre kilometres kilometern kilometros quilometros
            kilometri chilometri kilometru км километров кілометрів χλμ كم 公里 キロ"""
        ),
        1.0,
    ),
    **dict.fromkeys(_words("mi mile miles meile meilen milles millas miglia milhas"), 1.609344),
}

# Said of where a thing was made, not of where it is: "made in", "hecho en".
MADE: Final = _words(
    """made printed born hecho hecha fabricado fabricada feito feita fet fabrique fabriquee fatto
    fatta prodotto hergestellt gemacht gemaakt"""
)

# Names of small towns, and of large ones misspelt, that are common words besides; those of the
# shared categories are added to them.
COMMON: Final = _words(
    """advance alpha art bar base basic bear bell best big bank brick bright cat care cash center
    central chance change cloud colon come crystal date deal delta design diamond dual eagle era
    esse far freedom full general gold green hand hang hard holiday home hope hub human jinja julia
    kilo liberal lime line linen lion logos lone long love luck magenta mainly major male man
    manage mango mobile modern more most music name noisy normal off one orange over paper para
    park perl person pin plain plum pop port post progress real reserve rest rich roles roman rust
    sake sale sales salt same save semi set side silver sole split spring star success summer
    switch tall tell time tone trail turn union walk welcome winter worth zero
    bend bone caller clay dandy enterprise google independence march metro okay pets reservoir
    rosette solo sour spoken springs sunrise surprise tango torn trident turbo wedding
    escada extrema jardim labe longa mao marca paras pare sana sine sucre tarde
    azul casa este hora horas leche madera mano mesa oro piedra plata sol
    argent bois cours laine ligne lin maison metal soie
    bau form garten gold haus holz kurs laden leder stein ton wolle zeit
    airport college university universidad universitat station forest fountain junction market mill
    pond street temple terrace valley villa castle castello castelo castillo campo centro granja
    jardin jardines lac foret gare marche mercato molino mulino monte parco plage plaza playa
    piazza pont ponte puente puerto corral sala bagno bano quarto kuche keller kloster kapelle
    baker carpenter carpintero hunter mason painter turner sastre
    ash elm pine walnut willow brass stone tin pierre sable pedra barro cuero lana seta prata ouro
    madeira vidrio eisen zinn carta olio uva pera limao naranja lemon
    bag band bed cars carro chair choir egg hat jam needle sandwich song tent van vans manger
    cheval chat dents engels luce mani meta mutare ore pace paradise primavera sera toda"""
)

# Names of large towns that are common words: behind a weak sign their capital letter tells them.
CAPITAL: Final = _words("bath cork loja natal praia reading serra")
