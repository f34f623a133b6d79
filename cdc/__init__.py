"""The ERP side: the daemon that captures changes, streams them to the cloud, and applies what comes back."""
