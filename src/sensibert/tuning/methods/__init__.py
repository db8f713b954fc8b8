"""Tuning methods: one file each, with a function `attach`; the registry (`config.methods`) names them."""
