"""Sweeps: models x precisions x texts x tasks out of one file, resumable, with one history and one report."""
