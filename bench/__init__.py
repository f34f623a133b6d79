"""Measurements of the product against the physical limit of the same machine; `python -m bench`."""
