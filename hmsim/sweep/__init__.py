"""Parameter sweeps: points, where they run, what they leave, and the dataset that they become."""
