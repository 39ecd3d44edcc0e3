"""Fine-tuning: what FT, FT-L, FT-M and LoRA share."""
