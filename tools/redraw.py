"""Draw the pictures of reports again, from the csv files beside them: `python tools/redraw.py reports/sst2`."""

from __future__ import annotations

import argparse
from pathlib import Path

from sensibert.report.pictures import draw_again


def main() -> None:
    """Draw what there is a csv file for, and say what that was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="+", help="A folder of reports/.")
    for folder in parser.parse_args().folder:
        drawn = [picture.name for picture in draw_again(folder)]
        print(f"{folder}: {', '.join(drawn) or 'no csv file of a picture'}")


if __name__ == "__main__":
    main()
