"""How the bundled demo model was made: its world, its corpus, its training and the measurements on its card."""
