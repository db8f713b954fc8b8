import os

from sensibert.compute.host import hardware, peak_memory


def test_the_hardware_is_described():
    found = hardware()
    assert 1 <= found["cores"] <= os.cpu_count()
    assert found["memory"] > 2**28
    assert found["cpu"]


def test_the_peak_of_the_memory_never_falls():
    before = peak_memory()
    held = bytes(2**26)
    after = peak_memory()
    del held
    assert 2**24 < before <= after <= peak_memory()
