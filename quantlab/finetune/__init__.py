"""Adapters trained on a frozen base: LoRA on 16 bits, QLoRA on few."""
