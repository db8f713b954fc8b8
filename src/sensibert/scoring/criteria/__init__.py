"""Criteria: what gives each dimension a score. One file each; the registry (`config.methods`) names them."""
