"""Training and fine-tuning: one loop for every network, on Hugging Face Accelerate."""
