"""The difference that a step brings: from the packed block into the rows of the device, and the work beside it."""
