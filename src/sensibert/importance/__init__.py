CRITERIA = {"sensitivity":1,"mask":1,"fisher":1,"magnitude":1,"random":1}
