"""Adapters to the databases that hold the companies' copies; the port they implement is `cloud.store.base`."""
