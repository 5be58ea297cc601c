"""A second opinion on the question-answer pairs: own grammar, own definitions, own geometry, the tables alone."""
