"""Attention to projected, pooled or kernelised keys: Linformer and linear attention."""
