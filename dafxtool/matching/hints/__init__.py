"""Starting points read off a pair in closed form, one module for each kind of effect."""
