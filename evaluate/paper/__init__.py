"""The paper's tables 1 to 4 from run folders and sweep folders alone: no store is opened and no model is built."""
