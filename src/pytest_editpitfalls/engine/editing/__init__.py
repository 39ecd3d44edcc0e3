"""What an editor is: its declaration, what it is asked and what it answers, and checks of its answers."""
