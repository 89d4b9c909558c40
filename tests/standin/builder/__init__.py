"""The parts of the stand-in distribution's build: wheels and Debian packages in, conda channel and installer out."""
