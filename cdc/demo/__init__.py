"""The demo: a made-up company, people at work in its ERP, agent and cloud as real processes, and an independent comparison."""
