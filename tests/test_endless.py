"""That the bound on work which must end is one."""

import re

import pytest
from endless import must_end


def test_what_does_not_end_is_broken_off() -> None:
    with pytest.raises(AssertionError, match="no end"), must_end(0.05):
        re.fullmatch(r"(a+)+b", "a" * 60)


def test_what_ends_is_left_alone() -> None:
    with must_end(5):
        assert sum(range(10)) == 45
