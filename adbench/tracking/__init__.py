"""Records where people keep their experiments: MLflow and Weights & Biases."""
