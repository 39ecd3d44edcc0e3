"""Editors that write nothing and tell the model the new fact instead: IKE and ICE."""
