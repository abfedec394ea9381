"""`python mine.py train heights.yaml`: the command line of polyscene, with parts of one's own."""

import sys

from polyscene import cli
from polyscene.data import DATASETS
from polyscene.decoders import DECODERS
from polyscene.tasks import TASKS

TASKS["Height"] = "height:Height"  # module:Class, the modules beside this file
DECODERS["gated"] = "gated:Gated"
DATASETS["archives"] = "archives:Archives"

if __name__ == "__main__":
    sys.exit(cli.main())
