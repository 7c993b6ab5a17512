"""Other tuners' strategies, written anew from what their sources do, to compare with inside one tool."""
