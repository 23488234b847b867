"""What lies in the folder of a converted CeDiRNet."""

CONFIG, DETECTOR, LOCALISER = "config.json", "model.safetensors", "localiser.safetensors"
KIND = "cedirnet-3dof"
"""What ``config.json`` says it is."""
