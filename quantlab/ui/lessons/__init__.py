"""The tab Learn: six lessons on real tensors and runs, in four steps each."""
