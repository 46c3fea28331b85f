"""ONNX files: what they say of themselves, without onnxruntime."""
