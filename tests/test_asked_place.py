"""A place told among the words is understood, and words that tell none are left alone."""

import pytest
from endless import must_end
from hypothesis import given
from hypothesis import strategies as st

from marketplace.asked_place import AskedPlace, as_words, split_place
from marketplace.gazetteer import fold
from marketplace.place_words import BEFORE, BEHIND, WEAK
from marketplace.places import distance_km

LEEDS = (53.80, -1.55)
VIENNA = (48.21, 16.37)
LYON = (45.75, 4.85)
MADRID = (40.42, -3.70)
TURIN = (45.07, 7.69)
LISBON = (38.72, -9.14)
UTRECHT = (52.09, 5.12)
TOKYO = (35.69, 139.69)
NEAR_KM = 15

Point = tuple[float, float]


def taken(text: str) -> AskedPlace:
    found = split_place(text)
    assert found is not None, text
    return found


@pytest.mark.parametrize(
    ("text", "words", "point"),
    [
        ("plumer near leeds", "plumer", LEEDS),
        ("Plumber near Leeds", "Plumber", LEEDS),
        ("plumber nearby leeds", "plumber", LEEDS),
        ("plumber close to leeds", "plumber", LEEDS),
        ("plumber around leeds", "plumber", LEEDS),
        ("plumber, near Leeds!", "plumber,", LEEDS),
        ("near leeds plumber who takes hours", "plumber who takes hours", LEEDS),
        ("bread in Leeds", "bread", LEEDS),
        ("bread in leeds, uk", "bread", LEEDS),
        ("plumber near Leeds in England", "plumber", LEEDS),
        ("plumber in new york", "plumber", (40.71, -74.0)),
        ("plumber near the hague", "plumber", (52.08, 4.29)),
        ("bread in Otley", "bread", (53.91, -1.69)),
        ("plumber in Bath", "plumber", (51.38, -2.36)),
        ("bread near bath", "bread", (51.38, -2.36)),
        ("bread near Bath", "bread", (51.38, -2.36)),
        ("bread near Cork", "bread", (51.90, -8.50)),
        ("bread near cork", "bread", (51.90, -8.50)),
        ("bread in Cork", "bread", (51.90, -8.50)),
        ("klempner in essen", "klempner", (51.46, 7.01)),
        ("books near Van", "books", (38.49, 43.38)),
        ("help near university, florida", "help", (28.07, -82.44)),
        ("Klempner in der Nähe von Wien", "Klempner", VIENNA),
        ("klempner in der naehe von wien", "klempner", VIENNA),
        ("Klempner nahe Wien", "Klempner", VIENNA),
        ("Klempner bei Wien", "Klempner", VIENNA),
        ("Klempner in Wien", "Klempner", VIENNA),
        ("Brot rund um Wien", "Brot", VIENNA),
        ("plombier près de Lyon", "plombier", LYON),
        ("plombier pres de lyon", "plombier", LYON),
        ("plombier à Lyon", "plombier", LYON),
        ("plombier a lyon", "plombier", LYON),
        ("plombier autour d'Annecy", "plombier", (45.90, 6.13)),
        ("plombier autour d’Annecy", "plombier", (45.90, 6.13)),  # noqa: RUF001 (as telephones type it)
        ("fontanero cerca de Madrid", "fontanero", MADRID),
        ("fontanero en Madrid", "fontanero", MADRID),
        ("fontanero en Viena", "fontanero", VIENNA),
        ("lampista a prop de Barcelona", "lampista", (41.39, 2.16)),
        ("fontaneiro preto de Vigo", "fontaneiro", (42.23, -8.71)),
        ("idraulico vicino a Torino", "idraulico", TURIN),
        ("idraulico a torino", "idraulico", TURIN),
        ("encanador perto de Lisboa", "encanador", LISBON),
        ("canalizador em Lisboa", "canalizador", LISBON),
        ("canalizador no Porto", "canalizador", (41.15, -8.61)),
        ("loodgieter bij Utrecht", "loodgieter", UTRECHT),
        ("loodgieter in de buurt van Utrecht", "loodgieter", UTRECHT),
        ("Bécs közelében vízvezeték-szerelő", "vízvezeték-szerelő", VIENNA),
        ("vízvezeték-szerelő Bécs környékén", "vízvezeték-szerelő", VIENNA),
        ("rörmokare nära Malmö", "rörmokare", (55.61, 13.0)),
        ("rörmokare i Malmö", "rörmokare", (55.61, 13.0)),
        ("blikkenslager nær København", "blikkenslager", (55.68, 12.57)),
        ("hydraulik koło Gdańsk", "hydraulik", (54.35, 18.65)),
        ("instalatér poblíž Brno", "instalatér", (49.20, 16.61)),
        ("instalator lângă Cluj-Napoca", "instalator", (46.77, 23.6)),
        ("сантехник рядом с Вена", "сантехник", VIENNA),  # noqa: RUF001 (Russian)
        ("сантехнік біля Львів", "сантехнік", (49.84, 24.02)),
        ("υδραυλικός κοντά στη Βιέννη", "υδραυλικός", VIENNA),
        ("υδραυλικός στη Βιέννη", "υδραυλικός", VIENNA),
        ("Viyana yakınında tesisatçı", "tesisatçı", VIENNA),  # noqa: RUF001 (Turkish)
        ("Bilbo inguruan iturgina", "iturgina", (43.26, -2.93)),
        ("سباك قرب القاهرة", "سباك", (30.06, 31.25)),
        ("配管工 東京付近", "配管工", TOKYO),
        ("東京の近く 配管工", "配管工", TOKYO),
        ("在东京附近的水管工", "水管工", TOKYO),
        ("lessons in French near Leeds", "lessons in French", LEEDS),
        ("bread in leeds -white", "bread -white", LEEDS),
        ('"sour dough" in leeds', '"sour dough"', LEEDS),
        ("near leeds", "", LEEDS),
    ],
)
def test_a_place_is_read_out_of_the_words(text: str, words: str, point: Point) -> None:
    found = taken(text)
    assert found.words == words
    assert distance_km(found.place.lat, found.place.lon, *point) < NEAR_KM, found.place.label
    assert found.radius_km is None


@pytest.mark.parametrize(
    ("text", "words", "radius_km"),
    [
        ("plumber within 5 km of leeds", "plumber", 5),
        ("plumber within 5km from leeds", "plumber", 5),
        ("plumber within 10 miles of leeds", "plumber", 16.09),
        ("plumber near leeds within 2.5 km", "plumber", 2.5),
        ("bread in leeds, within 8 km", "bread", 8),
        ("5 km around leeds bread", "bread", 5),
        ("Klempner im Umkreis von 10 km um Graz", "Klempner", 10),
        ("plombier à moins de 5 km de Lyon", "plombier", 5),
        ("plombier dans un rayon de 7,5 km autour de Lyon", "plombier", 7.5),
        ("fontanero a menos de 20 km de Madrid", "fontanero", 20),
        ("idraulico entro 5 km da Torino", "idraulico", 5),
        ("loodgieter binnen 5 km van Utrecht", "loodgieter", 5),
        ("hydraulik do 5 km od Gdańsk", "hydraulik", 5),
        ("сантехник в радиусе 5 км от Вена", "сантехник", 5),
    ],
)
def test_a_distance_is_read_with_its_place(text: str, words: str, radius_km: float) -> None:
    found = taken(text)
    assert (found.words, found.radius_km) == (words, radius_km)


@pytest.mark.parametrize(
    "text",
    [
        "", "plumber", "Nice", "Reading", "in leeds", "leeds", "near", "in", "plumber near",
        "made in Italy", "made in mexico", "hecho en México", "made in Leeds", "lessons in mexico",
        "lessons in French", "Reading in English", "clases en casa", "help in spring",
        "work in progress", "paid in time", "paid in hours", "in good condition",
        "need a bath", "need a mobile", "looking for a split", "shops near me", "plumber near here",
        "cerca de mi casa", "près de chez moi", "plumber in la", "a 5 km run", "run 10 km berlin",
        "two days of work in March", "Xadrez no jardim", "costura à mão", "aulas à tarde",
        "clases en carpintería", "help in baker", "bread in otley", "in 5 km Leeds",
        "around 5 hours", "lampe d'Orléans", "macchina a vapore", "stampa a colori",
        '"bread in Leeds"', 'bread "in Leeds"', 'bread in "Leeds"', '"near leeds',
        "table à manger", "salle à manger", "books in van", "books in Van", "near airport",
        "near university", "near University", "près de jardin", "cerca de madera", "near cars",
        "near carpenter", "near painter", "tile in cork", "towels in bath", "help in reading",
        "lessen in engels", "trabajo en jardines", "aulas na praia", "près de gare",
        "walk in forest", "nära bostad", "cerca de perros", "table in Walnut", "near music",
        "bread -in leeds", "bread in -leeds", "bread -near leeds", "附近", "near 附近",
    ],
)  # fmt: skip
def test_words_that_tell_no_place_are_left_alone(text: str) -> None:
    assert split_place(text) is None


def test_a_weak_preposition_counts_at_the_end_only() -> None:
    assert split_place("bread in Leeds cheap") is None
    assert taken("bread near Leeds cheap").words == "bread cheap"


def test_a_name_of_a_country_is_no_town_of_another() -> None:
    assert split_place("plumber near china") is None
    assert taken("plumber in Singapore").place.country == "SG"


def test_of_two_places_the_last_is_taken() -> None:
    found = taken("removal near Leeds near York")
    assert (found.words, found.place.name) == ("removal near Leeds", "York")


def test_the_others_of_a_name_come_with_it() -> None:
    assert {other.country for other in taken("plumber near leeds").place.others} == {"US"}


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("lessons in Reading", 'lessons "in Reading"'),
        ("plumber near leeds cheap", 'plumber "near leeds" cheap'),
        ("Bécs közelében kenyér", '"Bécs közelében" kenyér'),
        ("near bath near york", '"near bath" "near york"'),
        ("just words", "just words"),
    ],
)
def test_quotes_make_words_of_a_place(text: str, literal: str) -> None:
    assert as_words(text) == literal
    assert split_place(literal) is None


@pytest.mark.parametrize(
    "piece",
    ["in ", "near ", "near york ", "near a,b,c,d ", "in leeds, york, bath ", "5 km ", "附近",
     "around new york, new york ", "near paris,paris,paris,paris ", "d'", '"', "- ",
     "within 5 km of "],
)  # fmt: skip
def test_no_text_takes_for_ever_to_read(piece: str) -> None:
    split_place("near leeds")  # reads the gazetteer
    text = (piece * 400)[:400]
    with must_end(0.2):
        split_place(text)


SIGNS = [*BEFORE.replace("\n", "|").split("|"), *BEHIND.replace("\n", "|").split("|"), *WEAK]
NAMES = [
    "leeds",
    "Wien",
    "Lyon",
    "東京",
    "附近",
    "5 km",
    "7miles",
    "d'",
    '"',
    "-",
    ",",
    "x",
    "bread",
]
PIECES = st.sampled_from(SIGNS) | st.sampled_from(NAMES)
TEXTS = st.lists(PIECES | st.text(max_size=5), max_size=12).map(" ".join)


@given(TEXTS | st.text(max_size=400))
def test_no_text_raises_and_no_word_is_lost(text: str) -> None:
    found = split_place(text)
    if found is None:
        return
    # What is left stands at both ends of the phrase that the literal text has in quotes.
    kept, literal = found.words, found.literal
    cut = next(
        literal[start : end + 1]
        for start in range(len(literal))
        if literal[start] == '"'
        for end in range(start + 1, len(literal))
        if literal[end] == '"'
        and " ".join((literal[:start] + " " + literal[end + 1 :]).split()) == " ".join(kept.split())
    )
    phrase = cut[1:-1]
    assert phrase in text
    assert fold(phrase)
    assert sorted("".join((kept + phrase).split())) == sorted("".join(text.split()))
