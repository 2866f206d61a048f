"""The mathematics: the two noise processes, paths of the time square, the training objective and the bound."""
