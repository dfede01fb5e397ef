"""Devices that have no bytes of their own behind them: consoles, display, watchdog, and so on."""
