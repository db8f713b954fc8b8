from sensibert.compute.timing import interleaved_medians


def test_candidates_take_turns_and_warmup_rounds_do_not_count():
    calls = []
    times = interleaved_medians({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, warmup=1)
    assert calls == ["a", "b"] * 4
    assert times.keys() == {"a", "b"}
    assert all(seconds >= 0 for seconds in times.values())
