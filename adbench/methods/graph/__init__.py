"""Fitted methods as torch modules of standard operations, which can be written as ONNX graphs."""
