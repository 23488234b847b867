"""Datasets: LeRobot recordings, their frames in decode order, their labels."""
