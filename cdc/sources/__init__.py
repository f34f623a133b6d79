"""Adapters to the kinds of ERP database; the port they implement is `cdc.sources.base`."""
