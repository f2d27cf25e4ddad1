"""Streaming PyTorch training: stream, pretrain, fine-tune. No Beam here."""
