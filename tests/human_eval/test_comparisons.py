import pytest

from drawbench.errors import UserError
from drawbench.human_eval.comparisons import comparisons


def three(**changes):
    columns = {
        "first": ["old", "new", "other"],
        "second": ["new", "old", "new"],
        "answers": [1, 1, 0],
        "raters": ["r", "r", "s"],
        "prompts": ["p", "q", "p"],
    }
    return comparisons(**(columns | changes))


def test_a_pair_is_seen_from_its_first_system_whichever_side_it_stood_on():
    judged = three()
    assert judged.of_pair("new", "old").answers.tolist() == [-1, 1]
    assert judged.of_pair("old", "new").answers.tolist() == [1, -1]
    assert judged.of_pair("new", "other").rows.tolist() == [2]
    assert (judged.systems(), len(judged)) == (["new", "old", "other"], 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"second": ["new", "new", "new"]}, "judgement 1 compares 'new' with itself"),
        ({"answers": [1, 2, 0]}, "judgement 1 has the answer 2: give 1 for the system shown first, 0 for neither, -1"),
        ({"raters": ["r", "r"]}, r"columns of the judgements have different lengths: \[2, 3\]"),
        ({"categories": ["Text"]}, r"columns of the judgements have different lengths: \[1, 3\]"),
    ],
)
def test_what_is_no_judgement_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        three(**changes)


def test_a_pair_that_never_met_and_a_system_that_is_unknown_are_named():
    with pytest.raises(UserError, match="'old' and 'other' were never compared"):
        three().of_pair("old", "other")
    with pytest.raises(UserError, match="no judgement is of 'othr'; did you mean 'other'"):
        three().of_pair("old", "othr")
