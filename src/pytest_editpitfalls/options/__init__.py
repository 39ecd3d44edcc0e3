"""What the user asked for: options, ini keys, labels, hyper-parameters; one frozen `RunConfig`."""
