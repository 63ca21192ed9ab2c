"""Will it fit? What a model would take at each precision, on which card, with how long a text. Nothing is loaded."""
