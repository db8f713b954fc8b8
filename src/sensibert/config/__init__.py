"""What an experiment is made of: methods, tasks, parameters, the grid, profiles and paths. Imports nothing heavy."""
