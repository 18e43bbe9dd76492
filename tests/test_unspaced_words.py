"""What is written without spaces is found by its parts, in every index."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from market import IMPLEMENTATIONS, add_groups, draft, found, publish
from sqlalchemy import Engine

from marketplace.index import Index, catch_up
from marketplace.words import SEAM, Words, read_words, separated


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def index(request: pytest.FixtureRequest) -> Iterator[Index]:
    made = IMPLEMENTATIONS[request.param](request)
    yield made
    made.close()


@pytest.fixture
def database(sqlite_engine: Engine) -> Engine:
    add_groups(sqlite_engine)
    return sqlite_engine


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("自転車", {"ja"}),
        ("修理", {"ja"}),
        ("自転車 しゅうまつ", {"ja"}),
        ("車自転", set()),
        ("自行车", {"zh"}),
        ("维修", {"zh"}),
        ("上门服务", {"zh"}),
        ("自", {"ja", "zh"}),
        ("-自転車", {"zh", "th"}),
        ("จักรยาน", {"th"}),
    ],
)
def test_parts_of_what_is_written_without_spaces_are_found(
    index: Index, database: Engine, q: str, expected: set[str]
) -> None:
    publish(
        database,
        draft("ja", "自転車の修理をします", "しゅうまつ、駅まえで。"),
        draft("zh", "专业自行车维修,上门服务"),
        draft("th", "ซ่อมจักรยานที่บ้าน"),
    )
    catch_up(database, index)
    assert found(index, q=q) == expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("自行车 Wien", ["自", "行", "车", " Wien"]),
        ("Tシャツ", ["T", "シ", "ャ", "ツ"]),
        ("ﾊﾟﾝ", ["ﾊ", "ﾟ", "ﾝ"]),
        ("か\u3099く", ["か\u3099", "く"]),
        ("บ้าน", ["บ้", "า", "น"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
        ("수리 교실", ["수리 교실"]),
        ("Fahrräder", ["Fahrräder"]),
        ("ремонт", ["ремонт"]),
        ("", []),
    ],
)
def test_each_letter_with_its_marks_is_put_apart(text: str, parts: list[str]) -> None:
    assert [part for part in separated(text).split(SEAM) if part] == parts


@given(st.text(st.characters(blacklist_characters=SEAM)))
def test_without_the_seams_a_text_is_as_it_was(text: str) -> None:
    assert separated(text).replace(SEAM, "") == text


def test_a_word_of_several_such_letters_is_a_phrase() -> None:
    assert read_words("自転車 bike") == Words(("bike",), joined=(("自", "転", "車"),), prefix=True)
    assert read_words("車") == Words(("車",))
    assert read_words('"自転" -修理') == Words(quoted=(("自", "転"),), none_of=(("修", "理"),))


@pytest.mark.parametrize("text", ["自転車の修理、" * 20_000, "自\u0300" * 50_000, "é" * 200_000])
def test_long_texts_take_little_time(text: str) -> None:
    start = time.perf_counter()
    separated(text)
    assert time.perf_counter() - start < 1
