"""In-context editing, which writes nothing and tells the model the new fact instead: what IKE and ICE share."""
