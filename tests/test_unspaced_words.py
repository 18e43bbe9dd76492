"""What is written without spaces is found by its parts, in every index."""

from pathlib import Path

import pytest
from endless import must_end
from hypothesis import given
from hypothesis import strategies as st
from market import draft, found, publish
from sqlalchemy import Engine

from marketplace.embedded import EmbeddedIndex
from marketplace.index import Index, catch_up
from marketplace.query import Query
from marketplace.words import SEAM, Words, read_words, separated, words_in


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("自転車", {"ja"}),
        ("修理", {"ja"}),
        ("自転車 しゅうまつ", {"ja"}),
        ("車自転", {"ja"}),  # all its letters, since nothing has them in this order
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
    ("q", "marked"),
    [
        ("自転車", "<mark>自転車</mark>の修理、Tシャツも。"),
        ("自転車 修理", "<mark>自転車</mark>の<mark>修理</mark>、Tシャツも。"),
        ("理", "自転車の修<mark>理</mark>、Tシャツも。"),
        ("シャツ", "自転車の修理、T<mark>シャツ</mark>も。"),
        ("Tシャツ", "自転車の修理、<mark>Tシャツ</mark>も。"),
        ("จักรยาน", "ซ่อม<mark>จักรยาน</mark>ที่บ้าน"),
        ("บ้าน", "ซ่อมจักรยานที่<mark>บ้าน</mark>"),
        ("维修", "自行车<mark>维修</mark>, bike"),
        ("bike", "自行车维修, <mark>bike</mark>"),
    ],
)
def test_a_word_written_without_spaces_is_marked_as_one(
    database: Engine, tmp_path: Path, q: str, marked: str
) -> None:
    publish(
        database,
        draft("ja", "a", "自転車の修理、Tシャツも。", language="ja"),
        draft("th", "b", "ซ่อมจักรยานที่บ้าน", language="th"),
        draft("zh", "c", "自行车维修, bike", language="zh"),
    )
    index = EmbeddedIndex(tmp_path / "index")
    catch_up(database, index)
    [hit] = index.search(Query(q=q)).hits
    assert hit.excerpt == marked
    index.close()


@given(st.text())
def test_the_words_of_a_text_are_those_that_an_index_tells_apart(text: str) -> None:
    told = [found.group() for found in words_in(text)]
    apart = separated(text)
    assert [part for word in told for part in separated(word).split(SEAM) if part] == told
    assert all(word in apart for word in told)


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
def test_a_long_text_is_separated_in_one_go(text: str) -> None:
    with must_end(1):
        assert separated(text).replace(SEAM, "") == text
