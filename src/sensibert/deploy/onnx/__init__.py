"""Exports to ONNX, and the program that answers with them."""
