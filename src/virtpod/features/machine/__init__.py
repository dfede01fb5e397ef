"""The machine itself: processors, memory, board, firmware, clock."""
