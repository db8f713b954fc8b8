"""How far the numbers can be trusted: statistics over seeds, and whether rankings hold."""
