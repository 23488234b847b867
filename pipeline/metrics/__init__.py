"""What the numbers mean: metric definitions in numpy, without torch.

They live in the contract because two stages use them: training picks its best checkpoint by them, evaluation
reports them, and neither may have its own version.
"""
