import attncc
from attncc.testing import check_pattern


def test_sinks() -> None:
    check_pattern(attncc.load("sinks", window=16, sinks=3))
