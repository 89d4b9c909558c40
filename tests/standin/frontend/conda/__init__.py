"""The `conda` of the nbfleet stand-in distribution: a thin front end over py-rattler. Not Anaconda's conda."""

from __future__ import annotations

#: The conda whose command line and answers are followed; what `conda --version` prints.
__version__ = "26.7.1"

#: What the distribution says about itself.
BANNER = "nbfleet stand-in distribution (a test double of Miniconda; not a product of Anaconda or conda-forge)"
