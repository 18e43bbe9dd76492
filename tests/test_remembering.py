"""What is remembered of texts, and what not."""

from commons.remembering import remembered


def test_a_short_text_is_asked_for_once_and_a_long_one_each_time() -> None:
    asked = []

    @remembered(most=2, longest=5)
    def doubled(text: str, times: int) -> str:
        asked.append(text)
        return text * times

    for text in ("short", "short", "longer", "longer"):
        assert doubled(text, 2) == text * 2
    assert asked == ["short", "longer", "longer"]
    assert doubled("short", 3) == "shortshortshort"


def test_no_more_than_so_many_are_remembered() -> None:
    asked = []

    @remembered(most=2, longest=5)
    def same(text: str) -> str:
        asked.append(text)
        return text

    for text in ("a", "b", "c", "a", "c"):
        same(text)
    assert asked == ["a", "b", "c", "a"]
