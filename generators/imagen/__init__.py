"""Imagen (Saharia et al. 2022): a reference implementation, one concept a file."""
