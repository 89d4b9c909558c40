"""One module per verb: arguments in, an Answer out."""
