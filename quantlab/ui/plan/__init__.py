"""The tab "Will it fit?": what a model would take, before anything is fetched or loaded."""
