"""Who hears of records while training goes on."""
