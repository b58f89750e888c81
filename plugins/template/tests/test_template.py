import attncc
from attncc.testing import check_pattern


def test_sinks_pattern_conforms() -> None:
    check_pattern(attncc.load("sinks", window=16, sinks=3))
