"""Statistics on measured tables of losses: reading, fitting, optima, comparison of laws."""
