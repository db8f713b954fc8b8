from sensibert.config.grid import Cell
from sensibert.config.paths import Paths


def test_every_cell_has_files_of_its_own(tmp_path):
    paths = Paths("tiny", tmp_path)
    cells = [Cell("sst2", "full", 1.0, 0), Cell("sst2", "mask", 0.4, 0), Cell("sst2", "mask", 0.4, 1)]
    files = (paths.mask, paths.model, paths.history, paths.metrics, paths.predictions, paths.checkpoints, paths.export)
    places = [place(cell) for place in files for cell in cells]
    assert len(set(places)) == len(places)
    assert all(place.is_relative_to(tmp_path / "data" / "tiny") for place in places)
    assert paths.mask(cells[1]).relative_to(tmp_path).as_posix() == "data/tiny/masks/sst2-mask-0.4-0.safetensors"
