"""The engine on transformers: CPU and GPU, every architecture that transformers knows."""
