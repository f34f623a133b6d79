"""TDS 7.4: packets, login over TLS, requests, answers."""
