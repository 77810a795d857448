"""What a model is given, built on the device from the rows and the packed work of a step."""
