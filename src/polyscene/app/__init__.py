"""One page, served locally: drop a photo, see every facet of it and the 3D. Needs the extra ``[app]``."""
