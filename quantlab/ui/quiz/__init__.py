"""The tab of the quiz, and of the class whose votes come together on a board."""
